// Reads commands with kafkajs. Arguments: bootstrap servers, topic, how many.
import { Kafka, logLevel } from 'kafkajs';

const [bootstrapServers, topic, howMany] = process.argv.slice(2);
let count = Number(howMany);
const kafka = new Kafka({ brokers: bootstrapServers.split(','), logLevel: logLevel.ERROR });
// Commands come in transactions: what is not committed never happened.
const consumer = kafka.consumer({ groupId: 'email-sender', readUncommitted: false });
await consumer.connect();
await consumer.subscribe({ topic, fromBeginning: true });
await new Promise((done) => {
  consumer.run({
    eachMessage: async ({ message }) => {
      const command = JSON.parse(message.value);
      // Before handing over: not past data.expires_at, not in `fences`, not an id seen before.
      console.log(command.type, command.id, command.subject, command.data.sequence);
      if (--count === 0) done();
    },
  });
});
await consumer.disconnect();
