import { useEffect, useId, useRef } from "react";
import { Link, NavLink, Outlet, useLocation, useNavigate, useParams } from "react-router";
import { prefix } from "./prefix.js";

export function Layout() {
  return (
    <>
      <header>
        <nav aria-label="Pages">
          <ul>
            <li><NavLink to="/" end>Home</NavLink></li>
            <li><NavLink to="/about">About</NavLink></li>
            <li><NavLink to="/greet">Greeting</NavLink></li>
          </ul>
        </nav>
      </header>
      <main>
        <Outlet />
      </main>
    </>
  );
}

// A page's title and heading.  A link within the application loads no document: moving the focus tells screen readers.
function Heading({ children }) {
  const heading = useRef(null);
  const { key } = useLocation();
  const firstKey = useRef(key);
  useEffect(() => {
    if (firstKey.current !== "default") heading.current.focus();
  }, []);
  return (
    <>
      <title>{children}</title>
      <h1 ref={heading} tabIndex={-1}>{children}</h1>
    </>
  );
}

export function Home() {
  return (
    <>
      <Heading>{`React behind ${prefix}`}</Heading>
      <p>Static files, the same behind every prefix: the page learns from the gateway where it is mounted.</p>
      <p>Next: <Link to="/greet">get a greeting</Link>.</p>
    </>
  );
}

export function About() {
  return (
    <>
      <Heading>About</Heading>
      <p>
        A React application with pages of its own. nginx serves its files; addresses below the prefix that are no files
        are pages, so each of them can be reloaded and shared.
      </p>
    </>
  );
}

export function Greeting() {
  const { name } = useParams();
  const navigate = useNavigate();
  const field = useId();

  function greet(event) {
    event.preventDefault();
    const asked = new FormData(event.currentTarget).get("name").trim();
    if (asked) navigate(`/greet/${encodeURIComponent(asked)}`);
  }

  return (
    <>
      <Heading>Greeting</Heading>
      <form onSubmit={greet}>
        <label htmlFor={field}>Your name</label>
        <input id={field} name="name" autoComplete="given-name" maxLength={80} required />
        <button type="submit">Greet me</button>
      </form>
      <p role="status">{name && `Hello ${name}`}</p>
    </>
  );
}

export function NotFound() {
  const { pathname } = useLocation();
  return (
    <>
      <Heading>Not Found</Heading>
      <p>There is no page <code>{pathname}</code> here.</p>
      <p><Link to="/">Back to the start</Link></p>
    </>
  );
}
