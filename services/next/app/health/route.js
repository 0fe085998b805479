export const dynamic = "force-dynamic";

export function GET() {
  return Response.json({ status: "ok", service: process.env.SERVICE_NAME ?? "next" });
}
