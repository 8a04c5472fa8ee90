package bench.streams;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.Stores;

/**
 * PX-bench as a Kafka Streams application. Its one argument is a file of properties: what it says
 * beside the address and the name is the column of the table. `bench.store=memory` keeps the store
 * in memory instead of RocksDB.
 */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws IOException {
        Properties properties = new Properties();
        try (var reader = Files.newBufferedReader(Path.of(arguments[0]))) {
            properties.load(reader);
        }
        String prefix = (String) properties.remove("bench.topic.prefix");
        boolean inMemory = "memory".equals(properties.remove("bench.store"));
        properties.putIfAbsent(StreamsConfig.REPLICATION_FACTOR_CONFIG, "1");
        KafkaStreams streams = new KafkaStreams(topology(prefix, inMemory), properties);
        streams.setUncaughtExceptionHandler(
                error -> {
                    error.printStackTrace();
                    return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
                });
        streams.setStateListener(
                (now, before) -> {
                    if (now == KafkaStreams.State.ERROR) {
                        Runtime.getRuntime().halt(70);
                    }
                });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }

    private static Topology topology(String prefix, boolean inMemory) {
        KeyValueBytesStoreSupplier supplier =
                inMemory
                        ? Stores.inMemoryKeyValueStore(Orchestrate.STORE)
                        : Stores.persistentKeyValueStore(Orchestrate.STORE);
        Topology topology = new Topology();
        topology.addSource(
                "touchpoints",
                new StringDeserializer(),
                new ByteArrayDeserializer(),
                prefix + "touchpoints");
        topology.addProcessor("orchestrate", Orchestrate::new, "touchpoints");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(supplier, Serdes.String(), Json.customers()),
                "orchestrate");
        addSink(topology, Orchestrate.JOURNEY_LOG, prefix + "journey-log");
        addSink(topology, Orchestrate.FENCES, prefix + "fences");
        for (String channel : Outputs.CHANNELS.keySet()) {
            addSink(topology, channel, prefix + "commands." + channel);
        }
        return topology;
    }

    private static void addSink(Topology topology, String name, String topic) {
        topology.addSink(
                name, topic, new StringSerializer(), new ByteArraySerializer(), "orchestrate");
    }
}
