import Link from "next/link";

export default function About() {
  return (
    <main>
      <h1>About</h1>
      <p>A Next.js application behind a prefix: pages, assets and client-side routes below it.</p>
      <Link href="/">Back</Link>
    </main>
  );
}
