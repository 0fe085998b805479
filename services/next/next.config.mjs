/** @type {import("next").NextConfig} */
export default {
  output: "standalone",
  // Fixed at build time: pages, assets and route handlers all lie below the prefix.
  basePath: process.env.BASE_PATH || undefined,
  // `/next/` is the page's own address: without this it is redirected to `/next`, and the gateway redirects it back.
  trailingSlash: true,
  // ... and `/next/health` is answered as it stands.
  skipTrailingSlashRedirect: true,
  poweredByHeader: false,
  images: { unoptimized: true },
};
