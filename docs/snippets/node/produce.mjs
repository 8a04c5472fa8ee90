// Sends a purchase with kafkajs. Arguments: bootstrap servers, topic, customer id.
import { Kafka, Partitioners, logLevel } from 'kafkajs';

const [bootstrapServers, topic, customer] = process.argv.slice(2);
const kafka = new Kafka({ brokers: bootstrapServers.split(','), logLevel: logLevel.ERROR });
// The default partitioner of kafkajs 2 finds the customer's home; that of kafkajs 1 did not.
const producer = kafka.producer({
  createPartitioner: Partitioners.DefaultPartitioner,
  idempotent: true,
});
await producer.connect();
const [accepted] = await producer.send({
  topic,
  acks: -1,
  messages: [
    {
      key: customer,
      headers: { 'content-type': 'application/cloudevents+json' },
      value: JSON.stringify({
        specversion: '1.0',
        id: 'ord-1001', // With `source` it makes a repeat harmless: derive it from your order.
        source: '/shop',
        type: 'purchase',
        subject: customer,
        time: new Date().toISOString(),
        data: {
          order_id: '1001',
          total: '129.00',
          currency: 'EUR',
          items: [{ sku: 'tent-2', quantity: 1, price: '129.00' }],
        },
      }),
    },
  ],
});
await producer.disconnect();
console.log(`accepted ${accepted.topicName}/${accepted.partition}/${accepted.baseOffset}`);
