// A sample backend on Express.
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
function credentials() {
  const { TLS_CERT, TLS_KEY, TLS_CLIENT_CA, TLS_CRL } = process.env;
  const own = { cert: readFileSync(TLS_CERT), key: readFileSync(TLS_KEY) };
  return TLS_CLIENT_CA ? { ...own, ca: readFileSync(TLS_CLIENT_CA), crl: readFileSync(TLS_CRL) } : own;
}

function age() {
  const { TLS_CERT, TLS_KEY, TLS_CLIENT_CA, TLS_CRL } = process.env;
  return [TLS_CERT, TLS_KEY, TLS_CLIENT_CA, TLS_CRL].filter(Boolean).map((file) => statSync(file).mtimeMs).join();
}

if (process.env.TLS_PORT) {
  const required = Boolean(process.env.TLS_CLIENT_CA);
  const secure = https.createServer(
    { ...credentials(), minVersion: "TLSv1.2", requestCert: required, rejectUnauthorized: required },
    app,
  );
  secure.listen(Number(process.env.TLS_PORT), "0.0.0.0", () => {
    console.log(`${service} listens on ${process.env.TLS_PORT} with TLS`);
  });
  // A renewed certificate or revocation list serves the next handshake.
  let seen = age();
  setInterval(() => {
    try {
      const now = age();
      if (now !== seen) {
        secure.setSecureContext(credentials());
        seen = now;
        console.log(`${service} has read its certificates again`);
      }
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
