"""What a message says: Liquid, in the customer's language, or not at all."""

import pytest

from orchestrator.core.decision import Refusal, SendRefused
from orchestrator.core.expressions.templates import Templates, compile_part
from orchestrator.core.language.shop import Shop
from tests.core.builders import Story, event, journey, shop_of


def templates(snippets=None, **languages):
    parts = {
        language.replace("_", "-"): {
            name: compile_part(name, text) for name, text in content.items()
        }
        for language, content in languages.items()
    }
    return Templates({("email", "hello"): parts}, snippets or {})


def sent(written, variables=None, *, locale=None, shop=None, data=None):
    word = {"channel": "email", "template": "hello", "variables": variables or {}}
    steps = [{"id": "hello", "send": word}]
    story = Story(shop_of(journey("j", "seen", steps), templates=written, shop=shop))
    if locale is not None:
        story.tell(event("profile.updated", "p", attributes={"locale": locale}))
    story.tell(event("seen", "e1", **(data or {})))
    return story


NAME = {"name": {"value": "trigger.data.name", "default": "friend"}}


def test_a_command_carries_its_rendered_content_and_its_variables():
    written = templates(en={"subject": "Hello {{ name }}", "text": "{{ name | upcase }}!"})

    (command,) = sent(written, NAME, data={"name": "Ana"}).commands

    assert command.content == {"subject": "Hello Ana", "text": "ANA!"}
    assert command.variables == {"name": "Ana"}


def test_a_missing_value_is_its_default_and_never_nothing():
    written = templates(en={"text": "Hello {{ name }}"})

    assert sent(written, NAME).commands[0].content == {"text": "Hello friend"}


@pytest.mark.parametrize(
    ("locale", "text"),
    [("es-MX", "hola"), ("es", "hola"), ("pt-BR", "oi"), ("pt", "hello"), (None, "hello")],
)
def test_the_language_is_the_customers_else_the_shops(locale, text):
    written = templates(es={"text": "hola"}, en={"text": "hello"}, pt_BR={"text": "oi"})

    assert sent(written, locale=locale).commands[0].content == {"text": text}


def test_snippets_are_those_of_the_language():
    snippets = {"en": {"bye": "Bye"}, "es": {"bye": "Adiós"}}
    written = templates(
        snippets, es={"text": "{{ snippets.bye }}"}, en={"text": "{{ snippets.bye }}"}
    )

    assert sent(written, locale="es").commands[0].content == {"text": "Adiós"}


def test_html_is_escaped_and_text_is_not():
    written = templates(en={"html": "<b>{{ name }}</b>", "text": "{{ name }}"})

    content = sent(written, NAME, data={"name": "<script>"}).commands[0].content

    assert content == {"html": "<b>&lt;script&gt;</b>", "text": "<script>"}


@pytest.mark.parametrize(
    "text",
    [
        "{{ nobody }}",
        "{% for i in name %}{{ i.deep.deeper }}{% endfor %}",
        "{{ name | divided_by: 0 }}",
    ],
)
def test_what_cannot_be_filled_in_is_refused_with_a_reason(text):
    story = sent(templates(en={"text": text}), NAME, data={"name": "Ana"})

    (refused,) = (one for one in story.entries if isinstance(one, SendRefused))

    assert story.commands == []
    assert refused.reason is Refusal.RENDERING_FAILED
    assert refused.detail.startswith("email/hello (en): ")


def test_a_template_that_would_never_end_is_stopped():
    text = "{% for i in (1..1000) %}{% for j in (1..1000) %}x{% endfor %}{% endfor %}"

    assert sent(templates(en={"text": text})).commands == []


@pytest.mark.parametrize(
    "text",
    ['{{ "now" | date: "%s" }}', "{% include 'x' %}", "{% render 'x' %}", "{% increment n %}"],
)
def test_nothing_in_a_template_can_ask_the_world(text):
    with pytest.raises(ValueError, match="not Liquid"):
        compile_part("text", text)


def test_a_shop_without_templates_leaves_the_words_to_its_senders():
    (command,) = sent(Templates({}, {}), NAME, shop=Shop(locale="es")).commands

    assert command.content is None
    assert command.locale == "es"


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("es-ES", "por 1.250,50\u00a0€"),
        ("es-MX", "por EUR1,250.50"),
        ("en-GB", "for €1,250.50"),
        ("de-DE", "for €1,250.50"),
        ("no language at all", "for €1,250.50"),
    ],
)
def test_money_is_written_as_the_customers_country_does_in_the_language_of_the_text(locale, text):
    """Who gets another language than their own gets its way of writing numbers too."""
    amount = '{{ total | money: "EUR" }}'
    written = templates(en={"text": f"for {amount}"}, es={"text": f"por {amount}"})

    story = sent(written, {"total": "trigger.data.total"}, locale=locale, data={"total": "1250.50"})

    assert story.commands[0].content == {"text": text}


def test_money_has_the_decimals_of_its_currency():
    written = templates(en={"text": "{{ total | money: currency }}"})
    variables = {"total": "trigger.data.total", "currency": "trigger.data.currency"}

    story = sent(written, variables, data={"total": 1250, "currency": "JPY"})

    assert story.commands[0].content == {"text": "¥1,250"}


@pytest.mark.parametrize(("total", "currency"), [("a lot", "EUR"), ("12.00", "XYZ?")])
def test_what_is_no_money_is_refused_with_a_reason(total, currency):
    written = templates(en={"text": "{{ total | money: currency }}"})
    variables = {"total": "trigger.data.total", "currency": "trigger.data.currency"}

    story = sent(written, variables, data={"total": total, "currency": currency})

    (refused,) = [one for one in story.entries if isinstance(one, SendRefused)]
    assert refused.reason is Refusal.RENDERING_FAILED
    assert "money" in refused.detail
