// A worker in JavaScript: an HTTP service that `jobledger worker run invoice --http URL` calls for each attempt.
// node worker.mjs: prints its URL.
import { createServer } from "node:http";
import { createHmac, timingSafeEqual } from "node:crypto";

const secret = process.env.SECRET;

// signed checks that the request is jobledger's, and not older than five minutes: docs/HANDLERS.md.
function signed(req, body) {
  const parts = (req.headers["jobledger-signature"] ?? "").split(",");
  const t = parts.find((part) => part.startsWith("t="))?.slice(2);
  if (!t || Math.abs(Date.now() / 1000 - t) > 300) return false;
  const want = createHmac("sha256", secret).update(`${t}.${req.headers["ce-subject"]}.${req.headers["jobledger-attempt"]}.`).update(body).digest();
  return parts.filter((part) => part.startsWith("v1=")).some((part) => {
    const have = Buffer.from(part.slice(3), "hex");
    return have.length === want.length && timingSafeEqual(have, want);
  });
}

const server = createServer(async (req, res) => {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  if (!signed(req, body)) return res.writeHead(403).end("the signature is wrong");
  const { number, lines } = JSON.parse(body);
  if (!Array.isArray(lines)) return res.writeHead(422).end("lines are missing"); // for good
  if (req.headers["jobledger-attempt"] === "1" && number % 2 === 0) return res.writeHead(503).end("the printer warms up"); // try again
  // A stream reports progress; its last line is the result.
  res.writeHead(200, { "content-type": "application/vnd.jobledger+ndjson" });
  res.write(JSON.stringify({ percent: 50, message: "adding up" }) + "\n");
  res.end(JSON.stringify({ result: { number, total: lines.reduce((sum, x) => sum + x, 0), by: process.version } }) + "\n");
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/`));
