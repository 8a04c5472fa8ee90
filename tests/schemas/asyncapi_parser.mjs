// Prints what AsyncAPI's own parser finds in a document, as JSON. Argument: the file.
import { Parser, fromFile } from '@asyncapi/parser';

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
console.log(
  JSON.stringify({
    errors: diagnostics.filter((one) => one.severity === 0).map((one) => one.message),
    channels: document ? document.channels().all().map((one) => one.address()) : [],
    messages: document ? document.messages().all().length : 0,
  }),
);
