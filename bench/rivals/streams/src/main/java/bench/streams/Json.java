package bench.streams;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** JSON by Jackson, and the serde of the state store. */
final class Json {
    static final ObjectMapper MAPPER =
            new ObjectMapper().disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);
    private static final ObjectReader CUSTOMER_READER = MAPPER.readerFor(Customer.class);
    private static final ObjectWriter CUSTOMER_WRITER = MAPPER.writerFor(Customer.class);

    private Json() {}

    static JsonNode read(byte[] value) {
        try {
            return MAPPER.readTree(value);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    static byte[] write(JsonNode value) {
        try {
            return MAPPER.writeValueAsBytes(value);
        } catch (JsonProcessingException error) {
            throw new UncheckedIOException(error);
        }
    }

    static Serde<Customer> customers() {
        return Serdes.serdeFrom(
                (topic, customer) -> {
                    try {
                        return customer == null ? null : CUSTOMER_WRITER.writeValueAsBytes(customer);
                    } catch (JsonProcessingException error) {
                        throw new UncheckedIOException(error);
                    }
                },
                (topic, value) -> {
                    try {
                        return value == null ? null : CUSTOMER_READER.readValue(value);
                    } catch (IOException error) {
                        throw new UncheckedIOException(error);
                    }
                });
    }
}
