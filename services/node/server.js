// A sample backend on Express.
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

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
    setTimeout(() => process.exit(0), 1000).unref();
  });
}
