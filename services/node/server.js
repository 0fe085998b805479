// A sample backend on Express.
import { constants } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import https from "node:https";
import express from "express";

const service = process.env.SERVICE_NAME ?? "node";
const port = Number(process.env.PORT ?? 3200);

const app = express();
app.disable("x-powered-by");

app.get("/health", (request, response) => {
  response.json({ status: "ok", service });
});

app.get("/greet/:name", (request, response) => {
  response.json({ service, greeting: `Hello, ${request.params.name}` });
});

app.all("/whoami", (request, response) => {
  const [path, query = ""] = request.originalUrl.split(/\?(.*)/s);
  const headers = Object.fromEntries(
    Object.entries(request.headersDistinct).map(([name, values]) => [name, values.join(", ")]),
  );
  response.json({ service, method: request.method, path, query, headers, remote: request.socket.remoteAddress });
});

const server = app.listen(port, "0.0.0.0", (error) => {
  if (error) throw error;
  console.log(`${service} listens on ${port}`);
});

// TLS of its own, beside the plain port, where the topology asks for it.
const { TLS_PORT, TLS_CERT, TLS_KEY, TLS_CLIENT_CA, TLS_CRL } = process.env;
const required = Boolean(TLS_CLIENT_CA);

function credentials() {
  const own = { cert: readFileSync(TLS_CERT), key: readFileSync(TLS_KEY), minVersion: "TLSv1.2" };
  if (!required) return own;
  // Node.js reads the first list of a text alone, and refuses everybody whose authority has none: one text for each.
  const lists = readFileSync(TLS_CRL, "utf8").match(/-----BEGIN X509 CRL-----[^-]+-----END X509 CRL-----/g) ?? [];
  return { ...own, ca: readFileSync(TLS_CLIENT_CA), crl: lists };
}

function age() {
  return [TLS_CERT, TLS_KEY, TLS_CLIENT_CA, TLS_CRL].filter(Boolean).map((file) => statSync(file).mtimeMs).join();
}

if (TLS_PORT) {
  // Sessions are not resumed: a caller that resumes shows no certificate, and would not meet a newer revocation list.
  // Nor does a caller begin the handshake anew on a connection that stands.
  const secureOptions = constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION;
  const asked = { requestCert: required, rejectUnauthorized: required };
  let seen = age();
  const secure = https.createServer({ ...credentials(), ...asked, secureOptions }, app);
  secure.listen(Number(TLS_PORT), "0.0.0.0", () => {
    console.log(`${service} listens on ${TLS_PORT} with TLS`);
  });
  // A renewed certificate or revocation list serves the next handshake, and ends connections that nobody uses.
  setInterval(() => {
    try {
      const now = age();
      if (now === seen) return;
      secure.setSecureContext({ ...credentials(), secureOptions });
      secure.closeIdleConnections();
      seen = now;
      console.log(`${service} has read its certificates again`);
    } catch (error) {
      console.error(`the certificates cannot be read now: ${error.message}`); // half written: the next look will do
    }
  }, 1000).unref();
}

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
    setTimeout(() => process.exit(0), 1000).unref();
  });
}
