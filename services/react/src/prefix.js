// Where the application is mounted, as <base href> in the served page says: "/react", or "/" at the root.
export const prefix = new URL(document.baseURI).pathname.replace(/\/+$/, "") || "/";
