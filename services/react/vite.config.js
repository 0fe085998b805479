import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  // Relative to <base href>, which nginx fills in: one build serves every prefix.
  base: "./",
  // Files of their own, so that the policy in nginx.conf can do without data: URLs.
  build: { assetsInlineLimit: 0 },
});
