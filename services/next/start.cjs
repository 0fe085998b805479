// Route handlers do not see the socket: the peer's address is handed to them as a header, whatever a caller sent.
const http = require("node:http");

const emit = http.Server.prototype.emit;
http.Server.prototype.emit = function (event, request, ...rest) {
  if (event === "request") request.headers["x-peer-address"] = request.socket.remoteAddress;
  return emit.call(this, event, request, ...rest);
};

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.on(signal, () => setTimeout(() => process.exit(0), 1000).unref());
}
