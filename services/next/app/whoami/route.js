export const dynamic = "force-dynamic";

function answer(request) {
  const url = new URL(request.url);
  // Next.js takes its base path off the address; the service saw it with the path that the gateway sent.
  const base = process.env.BASE_PATH ?? "";
  const path = url.pathname.startsWith(base) ? url.pathname : base + url.pathname;
  const { "x-peer-address": remote, ...headers } = Object.fromEntries(request.headers);
  return Response.json({
    service: process.env.SERVICE_NAME ?? "next",
    method: request.method,
    path,
    query: url.search.slice(1),
    headers,
    remote,
  });
}

export { answer as GET, answer as POST, answer as PUT, answer as PATCH, answer as DELETE, answer as OPTIONS };
