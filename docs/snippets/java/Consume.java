import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Reads commands. Arguments: bootstrap servers, topic, how many. */
public class Consume {
  public static void main(String[] arguments) {
    int count = Integer.parseInt(arguments[2]);
    Map<String, Object> options =
        Map.of(
            "bootstrap.servers", arguments[0],
            "group.id", "email-sender",
            // Commands come in transactions: what is not committed never happened.
            "isolation.level", "read_committed",
            "auto.offset.reset", "earliest",
            "enable.auto.commit", false);
    try (var consumer =
        new KafkaConsumer<>(options, new StringDeserializer(), new StringDeserializer())) {
      consumer.subscribe(List.of(arguments[1]));
      while (count > 0) {
        for (var command : consumer.poll(Duration.ofSeconds(1))) {
          // Headers carry type and id, so that a router need not parse the value. Before handing
          // over: not past data.expires_at, not in `fences`, not an id seen before.
          String type = text(command.headers().lastHeader("ce_type").value());
          String id = text(command.headers().lastHeader("ce_id").value());
          System.out.println(type + " " + id + " " + command.key() + " " + command.value());
          count--;
        }
        consumer.commitSync();
      }
    }
  }

  private static String text(byte[] header) {
    return new String(header, StandardCharsets.UTF_8);
  }
}
