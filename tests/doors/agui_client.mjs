// Run threads by the official client of AG-UI, which verifies the order and the form of all events. Each line of the
// input is a run; each line of the output tells how it ended, or that text was heard.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const place = `${process.env.ROOST_TEST_CLIENTS}/node_modules/@ag-ui/client/dist/index.mjs`;
const { HttpAgent } = await import(pathToFileURL(place));
const [base, token] = process.argv.slice(2);
const threads = new Map();
process.on("unhandledRejection", () => {}); // the client leaves one behind when its connection breaks
const tell = (value) => process.stdout.write(JSON.stringify(value) + "\n");

async function run({ agent, thread, runId, say, tools, results, resume, cut }) {
  if (!threads.has(thread)) {
    const headers = { Authorization: `Bearer ${token}` };
    threads.set(thread, new HttpAgent({ url: `${base}/ag-ui/${agent}`, threadId: thread, headers }));
  }
  const client = threads.get(thread);
  if (say) client.addMessage({ id: `user-${client.messages.length}`, role: "user", content: say });
  for (const [toolCallId, content] of Object.entries(results ?? {}))
    client.addMessage({ id: `tool-${client.messages.length}`, role: "tool", toolCallId, content });
  const seen = [];
  let finished = null;
  let heard = "";
  const listener = {
    onEvent: ({ event }) => void seen.push(event.type),
    onRunFinishedEvent: ({ event }) => void (finished = event),
    onRunErrorEvent: ({ event }) => void (finished = event),
    onTextMessageContentEvent: ({ event }) => {
      heard += event.delta;
      if (cut !== undefined && heard.length > cut) {
        cut = undefined;
        tell({ heard });
        if (process.env.ABORT) client.abortRun();
      }
    },
  };
  try {
    await client.runAgent({ runId, tools: tools ?? [], resume }, listener);
  } catch (error) {
    return { error: String(error), seen, messages: client.messages };
  }
  return { finished, seen, messages: client.messages };
}

for await (const line of createInterface({ input: process.stdin })) tell(await run(JSON.parse(line)));
