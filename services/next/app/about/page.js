import { cookies } from "next/headers";
import Link from "next/link";

export default async function About() {
  const visits = (await cookies()).get("visits")?.value;
  return (
    <main>
      <h1>About</h1>
      <p>A Next.js application behind a prefix: pages, assets and client-side routes below it.</p>
      {/* A plain form does not go through Next.js, which would put its base path before the address: it is relative. */}
      <form action="../visit" method="post">
        <button>I was here</button> {visits && `Visits: ${visits}`}
      </form>
      <Link href="/">Back</Link>
    </main>
  );
}
