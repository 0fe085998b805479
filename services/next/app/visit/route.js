import { cookies } from "next/headers";

// Next.js puts its base path before links and assets, but not before a cookie's path or a Location of a route handler.
const base = process.env.BASE_PATH ?? "";

export async function POST() {
  const jar = await cookies();
  const visits = (Number.parseInt(jar.get("visits")?.value, 10) || 0) + 1;
  jar.set("visits", String(visits), { path: `${base}/`, httpOnly: true, sameSite: "lax" });
  return new Response(null, { status: 303, headers: { Location: `${base}/about/` } });
}
