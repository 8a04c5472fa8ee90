package bench.streams;

import bench.streams.Customer.Enrollment;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.processor.api.RecordMetadata;

/** What is written, field by field as the contract has it. One for each processor: not shared. */
final class Outputs {
    /** By channel: where the profile keeps the address. The first one that has an address is used. */
    static final Map<String, String> CHANNELS = channels();

    private static final long EXPIRES_MS = 3 * 86_400_000L;
    private static final DateTimeFormatter RFC_3339 =
            DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSS'Z'").withZone(ZoneOffset.UTC);
    private static final byte[] CONTENT_TYPE = utf8("application/cloudevents+json");
    private static final byte[] MESSAGE_SEND = utf8("message.send");

    private final MessageDigest digest = sha256();
    private final String definitions = hash("PX-bench, version 1");

    void entered(ArrayNode entries, Enrollment enrollment) {
        entries.addObject()
                .put("kind", "entered")
                .put("enrollment", enrollment.id())
                .put("journey", enrollment.journey())
                .put("version", 1);
    }

    void refused(ArrayNode entries, Enrollment enrollment) {
        entries.addObject()
                .put("kind", "entry_refused")
                .put("journey", enrollment.journey())
                .put("version", 1)
                .put("reason", "already_enrolled")
                .put("detail", enrollment.id());
    }

    void moved(ArrayNode entries, Enrollment enrollment) {
        entries.addObject()
                .put("kind", "moved")
                .put("enrollment", enrollment.id())
                .put("step", enrollment.step())
                .put("wake_at_ms", enrollment.wake_at_ms())
                .putNull("detail");
    }

    void ended(ArrayNode entries, Enrollment enrollment) {
        ObjectNode entry =
                entries.addObject()
                        .put("kind", "ended")
                        .put("enrollment", enrollment.id())
                        .put("journey", enrollment.journey())
                        .put("version", 1)
                        .put("reason", "exit")
                        .put("step", enrollment.step());
        entry.putArray("cancelled");
        entry.putNull("detail");
    }

    void fenced(ArrayNode fenced, Enrollment enrollment, int sequence, long nowMs) {
        fenced.addObject()
                .put("enrollment", enrollment.id())
                .put("ended_at", rfc3339(nowMs))
                .put("sequence", sequence)
                .put("expires_at", rfc3339(nowMs));
    }

    void emitted(
            ArrayNode entries, String command, String channel, Enrollment enrollment, int sequence) {
        entries.addObject()
                .put("kind", "emitted")
                .put("command", command)
                .put("type", "message.send")
                .put("channel", channel)
                .put("command_class", "transactional")
                .put("enrollment", enrollment.id())
                .put("step", "thank_you")
                .put("sequence", sequence);
    }

    byte[] log(
            JsonNode event, RecordMetadata place, long nowMs, String outcome, ArrayNode entries) {
        ObjectNode value =
                Json.MAPPER
                        .createObjectNode()
                        .put("customer", event.get("subject").textValue())
                        .put("now", rfc3339(nowMs));
        value.putObject("cause")
                .put("kind", "event")
                .put("topic", place.topic())
                .put("partition", place.partition())
                .put("offset", place.offset())
                .put("source", event.get("source").textValue())
                .put("id", event.get("id").textValue())
                .put("type", event.get("type").textValue())
                .put("time", event.get("time").textValue());
        value.put("outcome", outcome).put("definitions", definitions).set("entries", entries);
        return Json.write(value);
    }

    byte[] command(
            String command,
            String channel,
            Enrollment enrollment,
            JsonNode event,
            Customer customer,
            long nowMs) {
        JsonNode order = event.get("data");
        JsonNode name = customer.attributes.get("first_name");
        String firstName = name == null ? "customer" : name.textValue();
        ObjectNode value =
                Json.MAPPER
                        .createObjectNode()
                        .put("specversion", "1.0")
                        .put("id", command)
                        .put("source", "/orchestrator")
                        .put("type", "message.send")
                        .put("subject", event.get("subject").textValue())
                        .put("time", rfc3339(nowMs));
        ObjectNode data =
                value.putObject("data")
                        .put("channel", channel)
                        .put("class", "transactional")
                        .put("mode", "test")
                        .put("journey", enrollment.journey())
                        .put("journey_version", 1)
                        .put("step", "thank_you")
                        .put("enrollment", enrollment.id());
        data.putObject("recipient").put("address_ref", "profile." + CHANNELS.get(channel));
        data.put("locale", "en-GB").put("template", "thank_you");
        String orderId = order.get("order_id").textValue();
        String total = order.get("total").textValue();
        String currency = order.get("currency").textValue();
        data.putObject("variables")
                .put("first_name", firstName)
                .put("order_id", orderId)
                .put("total", total)
                .put("currency", currency);
        data.putObject("content")
                .put(channel.equals("push") ? "title" : "subject", "Thank you, " + firstName)
                .put("text", "We have your order " + orderId + " over " + total + " " + currency + ".");
        data.putNull("offer")
                .putNull("not_before")
                .put("expires_at", rfc3339(nowMs + EXPIRES_MS))
                .put("delivery", "at_least_once");
        data.putObject("caused_by")
                .put("source", event.get("source").textValue())
                .put("id", event.get("id").textValue());
        data.put("sequence", customer.sequence);
        return Json.write(value);
    }

    Headers commandHeaders(String command) {
        return new RecordHeaders()
                .add("content-type", CONTENT_TYPE)
                .add("ce_id", utf8(command))
                .add("ce_type", MESSAGE_SEND);
    }

    String commandId(String customer, String enrollment, String step, JsonNode event) {
        String parts = String.join("\0", customer, enrollment, step, event.get("id").textValue());
        return hash(parts).substring(0, 32);
    }

    static String channel(Customer customer) {
        JsonNode preferred = customer.attributes.get("preferred_channel");
        if (preferred != null) {
            String address = CHANNELS.get(preferred.textValue());
            if (address != null && customer.attributes.containsKey(address)) {
                return preferred.textValue();
            }
        }
        for (Map.Entry<String, String> channel : CHANNELS.entrySet()) {
            if (customer.attributes.containsKey(channel.getValue())) {
                return channel.getKey();
            }
        }
        return "email";
    }

    private String hash(String text) {
        return HexFormat.of().formatHex(digest.digest(utf8(text)));
    }

    private static String rfc3339(long timeMs) {
        return RFC_3339.format(Instant.ofEpochMilli(timeMs));
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static Map<String, String> channels() {
        Map<String, String> channels = new LinkedHashMap<>();
        channels.put("email", "email");
        channels.put("push", "push_token");
        return channels;
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException error) {
            throw new IllegalStateException(error);
        }
    }
}
