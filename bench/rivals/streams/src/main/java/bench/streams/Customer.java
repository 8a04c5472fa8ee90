package bench.streams;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What is remembered of a customer: the same fields as the job in Python keeps. */
public final class Customer {
    public Map<String, JsonNode> attributes = new LinkedHashMap<>();
    public Map<String, Boolean> consents = new LinkedHashMap<>();
    public List<Enrollment> enrollments = new ArrayList<>();
    public Map<String, Integer> entries = new LinkedHashMap<>();
    public List<String> recent = new ArrayList<>();
    public int sequence;

    /** One run of a journey; `wake_at_ms` is when its wait comes due. */
    public record Enrollment(
            String id, String journey, String cause, long entered_ms, String step, long wake_at_ms) {}
}
