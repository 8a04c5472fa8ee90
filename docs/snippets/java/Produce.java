import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Sends a purchase. Arguments: bootstrap servers, topic, customer id. The default partitioner is the
 * right one. Run: java -cp 'kafka-clients.jar:slf4j-api.jar' Produce.java ...
 */
public class Produce {
  public static void main(String[] arguments) throws Exception {
    String topic = arguments[1];
    String customer = arguments[2];
    String purchase =
        """
        {"specversion":"1.0","id":"ord-1001","source":"/shop","type":"purchase",
         "subject":"%s","time":"%s",
         "data":{"order_id":"1001","total":"129.00","currency":"EUR",
                 "items":[{"sku":"tent-2","quantity":1,"price":"129.00"}]}}
        """
            .formatted(customer, Instant.now());
    Map<String, Object> options =
        Map.of("bootstrap.servers", arguments[0], "enable.idempotence", true, "acks", "all");
    try (var producer =
        new KafkaProducer<>(options, new StringSerializer(), new StringSerializer())) {
      var event = new ProducerRecord<>(topic, customer, purchase);
      event
          .headers()
          .add("content-type", "application/cloudevents+json".getBytes(StandardCharsets.UTF_8));
      var accepted = producer.send(event).get();
      System.out.printf(
          "accepted %s/%d/%d%n", accepted.topic(), accepted.partition(), accepted.offset());
    }
  }
}
