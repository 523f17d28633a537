// A publisher in JavaScript: the ordinary NATS client, and nothing of jobledger's.
// node publisher.mjs NATS_URL TOKEN ORG
import { connect, headers, StringCodec, ErrorCode } from "nats";

const [url, token, org] = process.argv.slice(2);
const text = StringCodec();
const nc = await connect({ servers: url, token });

// ask sends a request; an error is in the headers, and told in the body.
async function ask(verb, body, options = {}) {
  const h = headers();
  for (const [name, value] of Object.entries(options)) h.set(name, value);
  const reply = await nc.request(`jobledger.${org}.${verb}`, text.encode(JSON.stringify(body)), { headers: h, timeout: 40_000 });
  const answer = JSON.parse(text.decode(reply.data));
  if (reply.headers?.has("Nats-Service-Error")) throw new Error(`${answer.error.code}: ${answer.error.message}`);
  return answer;
}

// The key makes a repetition find its own job, after an answer that did not come.
const submit = () => ask("submit.invoice", { number: 4711, lines: [19.9, 5] }, { "Nats-Msg-Id": "invoice-4711", "Jobledger-Tag": "shop=web" });
const job = await submit();
const again = await submit();
if (again.id !== job.id || !again.duplicate) throw new Error(`submitted twice: ${job.id}, ${again.id}`);

const done = await ask(`wait.${job.id}`, { timeout_ms: 30_000 });
if (done.state !== "completed") throw new Error(`the job is ${done.state}: ${JSON.stringify(done.error)}`);
const result = await ask(`result.${job.id}`, {});
console.log(JSON.stringify({ id: job.id, result: result.result }));

// A token opens its own org alone.
try {
  await nc.request("jobledger.umbrella.list", "{}", { timeout: 40_000 });
  throw new Error("another org answered");
} catch (err) {
  if (err.code !== ErrorCode.NoResponders) throw err;
}
await nc.close();
