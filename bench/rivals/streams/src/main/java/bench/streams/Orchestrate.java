package bench.streams;

import bench.streams.Customer.Enrollment;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * One event in; the customer's next state, journey log, fence and command out: the same job as
 * `job.py`, and the same bytes.
 */
final class Orchestrate implements Processor<String, byte[], String, byte[]> {
    static final String STORE = "customers";
    static final String JOURNEY_LOG = "journey-log";
    static final String FENCES = "fences";

    private static final Map<String, String> PROMOTIONS =
            Map.of(
                    "product.viewed", "browse_offer",
                    "cart.abandoned", "cart_offer",
                    "campaign.started", "sale_offer");
    private static final String POST_PURCHASE = "post_purchase";
    private static final long DAY_MS = 86_400_000L;
    private static final int RECENT_EVENTS_MAX = 64;

    private final Outputs outputs = new Outputs();
    private ProcessorContext<String, byte[]> context;
    private KeyValueStore<String, Customer> customers;
    private long clockMs;

    @Override
    public void init(ProcessorContext<String, byte[]> context) {
        this.context = context;
        this.customers = context.getStateStore(STORE);
    }

    @Override
    public void process(Record<String, byte[]> record) {
        JsonNode event = Json.read(record.value());
        clockMs = Math.max(clockMs, record.timestamp());
        Customer customer = customers.get(record.key());
        if (customer == null) {
            customer = new Customer();
        }
        String identity = event.get("source").textValue() + "/" + event.get("id").textValue();
        ArrayNode entries = Json.MAPPER.createArrayNode();
        if (customer.recent.contains(identity)) {
            log(record, event, "duplicate", entries);
            return;
        }
        if (customer.recent.size() == RECENT_EVENTS_MAX) {
            customer.recent.remove(0);
        }
        customer.recent.add(identity);
        apply(record, event, customer, entries);
        customers.put(record.key(), customer);
        log(record, event, "applied", entries);
    }

    private void apply(
            Record<String, byte[]> record, JsonNode event, Customer customer, ArrayNode entries) {
        String type = event.get("type").textValue();
        JsonNode data = event.get("data");
        switch (type) {
            case "purchase" -> {
                exitPromotions(record, customer, entries);
                thank(record, event, customer, entries);
            }
            case "profile.updated" -> data.get("attributes")
                    .properties()
                    .forEach(field -> customer.attributes.put(field.getKey(), field.getValue()));
            case "consent.updated" -> {
                String lane = data.get("channel").textValue() + "/" + data.get("class").textValue();
                customer.consents.put(lane, data.get("granted").booleanValue());
            }
            default -> {
                String journey = PROMOTIONS.get(type);
                if (journey != null) {
                    promote(journey, event, customer, entries);
                }
            }
        }
    }

    private void promote(String journey, JsonNode event, Customer customer, ArrayNode entries) {
        for (Enrollment enrollment : customer.enrollments) {
            if (enrollment.journey().equals(journey)) {
                outputs.refused(entries, enrollment);
                return;
            }
        }
        Enrollment enrollment = enroll(customer, journey, null, event, "think", entries);
        outputs.moved(entries, enrollment);
    }

    private void exitPromotions(
            Record<String, byte[]> record, Customer customer, ArrayNode entries) {
        List<Enrollment> kept = new ArrayList<>();
        ArrayNode fenced = Json.MAPPER.createArrayNode();
        for (Enrollment enrollment : customer.enrollments) {
            if (enrollment.journey().equals(POST_PURCHASE)) {
                kept.add(enrollment);
            } else {
                outputs.ended(entries, enrollment);
                outputs.fenced(fenced, enrollment, customer.sequence, clockMs);
            }
        }
        if (fenced.isEmpty()) {
            return;
        }
        customer.enrollments = kept;
        byte[] value = Json.write(Json.MAPPER.createObjectNode().set("enrollments", fenced));
        context.forward(record.withValue(value).withHeaders(new RecordHeaders()), FENCES);
    }

    private void thank(
            Record<String, byte[]> record, JsonNode event, Customer customer, ArrayNode entries) {
        String order = event.get("data").get("order_id").textValue();
        Enrollment enrollment =
                enroll(customer, POST_PURCHASE, order, event, "parcel_travels", entries);
        String channel = Outputs.channel(customer);
        customer.sequence += 1;
        String command = outputs.commandId(record.key(), enrollment.id(), "thank_you", event);
        outputs.emitted(entries, command, channel, enrollment, customer.sequence);
        outputs.moved(entries, enrollment);
        byte[] value = outputs.command(command, channel, enrollment, event, customer, clockMs);
        context.forward(
                record.withValue(value).withHeaders(outputs.commandHeaders(command)), channel);
    }

    private Enrollment enroll(
            Customer customer,
            String journey,
            String key,
            JsonNode event,
            String step,
            ArrayNode entries) {
        int ordinal = customer.entries.merge(journey, 1, Integer::sum);
        String id = (key == null ? journey : journey + "/" + key) + "#" + ordinal;
        Enrollment enrollment =
                new Enrollment(
                        id, journey, event.get("id").textValue(), clockMs, step, clockMs + DAY_MS);
        customer.enrollments.add(enrollment);
        outputs.entered(entries, enrollment);
        return enrollment;
    }

    private void log(
            Record<String, byte[]> record, JsonNode event, String outcome, ArrayNode entries) {
        RecordMetadata place = context.recordMetadata().orElseThrow();
        byte[] value = outputs.log(event, place, clockMs, outcome, entries);
        context.forward(record.withValue(value).withHeaders(new RecordHeaders()), JOURNEY_LOG);
    }
}
