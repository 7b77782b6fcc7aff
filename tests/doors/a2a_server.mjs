// A remote agent by the official JavaScript library of A2A. Arguments: binding. Prints its URL when it listens, then each
// text that it hears on a line.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const modules = `${process.env.ROOST_TEST_CLIENTS}/node_modules`;
const load = (path) => import(pathToFileURL(`${modules}/@a2a-js/sdk/dist/${path}/index.js`));
const express = createRequire(`${modules}/express/`)("express");
const { DefaultRequestHandler, InMemoryTaskStore, AgentEvent } = await load("server");
const { jsonRpcHandler, restHandler, UserBuilder } = await load("server/express");
const [binding] = process.argv.slice(2);
const app = express();
const listening = app.listen(0, "127.0.0.1", () => {
  const url = `http://127.0.0.1:${listening.address().port}`;
  const card = {
    name: "javascript", description: "x", version: "1", skills: [], signatures: [], securityRequirements: [],
    securitySchemes: {}, defaultInputModes: ["text/plain"], defaultOutputModes: ["text/plain"],
    capabilities: { streaming: true, extensions: [] },
    supportedInterfaces: [{ url: `${url}/v1`, protocolBinding: binding, protocolVersion: "1.0", tenant: "" }],
  };
  const executor = {
    cancelTask: async () => {},
    execute: async ({ userMessage, taskId, contextId }, bus) => {
      const text = userMessage.parts.map((part) => part.content?.value ?? "").join("");
      console.log(text);
      const status = (state) => ({ state, message: undefined, timestamp: new Date().toISOString() });
      const part = { content: { $case: "text", value: `heard: ${text}` }, metadata: undefined, filename: "", mediaType: "" };
      const artifact = { artifactId: "a", name: "", description: "", parts: [part], metadata: undefined, extensions: [] };
      bus.publish(AgentEvent.task({ id: taskId, contextId, status: status(2), artifacts: [], history: [userMessage], metadata: undefined }));
      await new Promise((done) => setTimeout(done, 300));
      bus.publish(AgentEvent.artifactUpdate({ taskId, contextId, artifact, append: false, lastChunk: true, metadata: undefined }));
      bus.publish(AgentEvent.statusUpdate({ taskId, contextId, status: status(3), metadata: undefined }));
      bus.finished();
    },
  };
  const requestHandler = new DefaultRequestHandler(card, new InMemoryTaskStore(), executor);
  const options = { requestHandler, userBuilder: UserBuilder.noAuthentication };
  app.get("/.well-known/agent-card.json", (_, response) => response.json(card));
  app.use("/v1", binding === "JSONRPC" ? jsonRpcHandler(options) : restHandler(options));
  console.log(url);
});
