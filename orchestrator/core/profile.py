"""What the customer is and has: attributes, orders, and the products that count as owned.

`decide` applies every event here before any journey looks at it. Events may arrive in any order
and an order's cancellation may come before the order itself, so each function gives the same
result for the same facts whichever comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from orchestrator.core.customer import Attribute, Order, OrderLine, Product

if TYPE_CHECKING:
    from orchestrator.core.event import Event
    from orchestrator.core.language.shop import Ownership

# The contract's bound on a quantity. A return without a quantity means the whole line.
QUANTITY_MAX: Final = 1_000_000
# An entry about more products than this is about the first of them; it bounds the state.
PRODUCTS_MAX: Final = 64


def attributes_after(attributes: Mapping[str, Attribute], event: Event) -> Mapping[str, Attribute]:
    """Return the attributes after `profile.updated`; the newest by (time, source, id) wins."""
    updates = event.data.get("attributes")
    if not isinstance(updates, Mapping) or not updates:
        return attributes
    return with_attributes(attributes, event, updates)


def with_attributes(
    attributes: Mapping[str, Attribute], event: Event, updates: Mapping[str, Any]
) -> Mapping[str, Attribute]:
    """Return the attributes with what an event says of them, where it is the newest word."""
    version = (event.time_ms, event.source, event.id)
    after = dict(attributes)
    for name, value in updates.items():
        held = after.get(name)
        if held is None or (held.time_ms, held.source, held.id) < version:
            after[name] = Attribute(value, *version)
    return after


def orders_after(
    orders: tuple[Order, ...], event: Event, *, occurred_ms: int, kept_from_ms: int
) -> tuple[Order, ...]:
    """Return the orders after a purchase, a cancellation or a return.

    Orders from before `kept_from_ms` are forgotten: they can make nothing owned.
    """
    order_id = str(event.data.get("order_id"))
    known = next((order for order in orders if order.order_id == order_id), None)
    items = event.data.get("items")
    if event.type == "purchase":
        order = _bought(known, order_id, occurred_ms, items)
    else:
        order = _brought_back(known or Order(order_id, occurred_ms), items)
    kept = tuple(one for one in orders if one.order_id != order_id and one.time_ms >= kept_from_ms)
    return (*kept, order) if order.time_ms >= kept_from_ms else kept


def is_owned(product: Product, orders: Iterable[Order], owned_for: Ownership, now_ms: int) -> bool:
    """Whether the customer bought the product, or a variant of it, and still has it."""
    return any(
        _same_product(line.product, product)
        and line.quantity > line.returned
        and _lasts(line.product.category or product.category, order.time_ms, owned_for, now_ms)
        for order in orders  # A cancelled one has no lines.
        for line in order.lines
    )


def products_in(value: Any) -> tuple[Product, ...]:
    """Read products from a list of objects with `sku`, or from one such object."""
    if isinstance(value, Mapping):
        value = (value,)
    if not isinstance(value, list | tuple):
        return ()
    found = (_product(one) for one in value[:PRODUCTS_MAX])
    return tuple(dict.fromkeys(product for product in found if product is not None))


def lines_in(
    items: Any, *, quantity_default: int
) -> Iterable[tuple[Product, int, Mapping[str, Any]]]:
    """Yield the product and the quantity of each line that names one, and the line itself."""
    for item in items if isinstance(items, list | tuple) else ():
        product = _product(item)
        if product is not None:
            yield product, _quantity(item.get("quantity"), quantity_default), item


def _bought(known: Order | None, order_id: str, occurred_ms: int, items: Any) -> Order:
    if known is not None and known.cancelled:
        return Order(order_id, occurred_ms, cancelled=True)
    returned = {line.product.sku: line.returned for line in known.lines} if known else {}
    quantities: dict[str, int] = {}
    products: dict[str, Product] = {}
    for product, quantity, _ in lines_in(items, quantity_default=1):
        products.setdefault(product.sku, product)
        quantities[product.sku] = quantities.get(product.sku, 0) + quantity
    lines = tuple(
        OrderLine(product, quantities[sku], returned.get(sku, 0))
        for sku, product in products.items()
    )
    return Order(order_id, occurred_ms, lines)


def _brought_back(order: Order, items: Any) -> Order:
    """Return the order without all of it, or without these items.

    Lines not known yet are kept with quantity 0, so that the purchase finds what came back.
    """
    if not items or order.cancelled:
        return Order(order.order_id, order.time_ms, cancelled=True)
    lines = {line.product.sku: line for line in order.lines}
    for product, quantity, _ in lines_in(items, quantity_default=QUANTITY_MAX):
        line = lines.get(product.sku) or OrderLine(product, 0)
        returned = min(line.returned + quantity, QUANTITY_MAX)
        lines[product.sku] = OrderLine(line.product, line.quantity, returned)
    return Order(order.order_id, order.time_ms, tuple(lines.values()))


def _quantity(value: Any, default: int) -> int:
    if isinstance(value, int | float) and 1 <= value <= QUANTITY_MAX:
        return int(value)
    return default


def _product(item: Any) -> Product | None:
    if not isinstance(item, Mapping):
        return None
    sku = _text(item.get("sku"))
    if sku is None:
        return None
    return Product(sku, _text(item.get("family")), _text(item.get("category")))


def _text(value: Any) -> str | None:
    """Return a name as text; some shops number their articles."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _same_product(bought: Product, product: Product) -> bool:
    if bought.sku == product.sku:
        return True
    return bought.family is not None and bought.family == product.family


def _lasts(category: str | None, bought_ms: int, owned_for: Ownership, now_ms: int) -> bool:
    if category is not None and category in owned_for.replenishable:
        return False
    duration = owned_for.default
    if category is not None:
        duration = owned_for.categories.get(category, duration)
    return now_ms < bought_ms + duration
