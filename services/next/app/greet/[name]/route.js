export async function GET(request, { params }) {
  const { name } = await params;
  return Response.json({ service: process.env.SERVICE_NAME ?? "next", greeting: `Hello, ${name}` });
}
