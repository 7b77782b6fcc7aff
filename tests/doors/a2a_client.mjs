// Ask an agent by the official JavaScript client of A2A. Arguments: base, token, binding, agent, text. Prints the updates
// of the stream, the task as it is then, and the answer to the same message in one piece.
import { pathToFileURL } from "node:url";

const place = `${process.env.ROOST_TEST_CLIENTS}/node_modules/@a2a-js/sdk/dist/client/index.js`;
const sdk = await import(pathToFileURL(place));
const [base, token, binding, agent, text] = process.argv.slice(2);
const fetchImpl = (url, init = {}) => {
  const headers = new Headers(init.headers);
  headers.set("Authorization", `Bearer ${token}`);
  return fetch(url, { ...init, headers });
};
const factory = new sdk.ClientFactory({
  transports: [new sdk.JsonRpcTransportFactory({ fetchImpl }), new sdk.RestTransportFactory({ fetchImpl })],
  preferredTransports: [binding],
  cardResolver: new sdk.DefaultAgentCardResolver({ fetchImpl }),
});
const client = await factory.createFromUrl(`${base}/a2a/${agent}/`);
const message = { messageId: `js-${text}`, role: 1, parts: [{ content: { $case: "text", value: text } }] };
const request = { message: { contextId: "", taskId: "", extensions: [], referenceTaskIds: [], ...message } };
const updates = [];
for await (const update of client.sendMessageStream(request)) updates.push(update);
const id = updates[0].payload.value.id;
const task = await client.getTask({ id });
const again = await client.sendMessage(request);
console.log(JSON.stringify({ updates, task, again }));
