import Link from "next/link";
import Counter from "./counter";

export const dynamic = "force-dynamic";

export default function Page() {
  return (
    <main>
      <h1>{process.env.SERVICE_NAME ?? "next"}</h1>
      <p>Rendered on the server at {new Date().toISOString()}.</p>
      <Counter />
      <p>
        <Link href="/about/">About this page</Link>
      </p>
    </main>
  );
}
