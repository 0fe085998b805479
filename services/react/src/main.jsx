import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createBrowserRouter } from "react-router";
import { RouterProvider } from "react-router/dom";
import { About, Greeting, Home, Layout, NotFound } from "./pages.jsx";
import { prefix } from "./prefix.js";
import "./style.css";

const router = createBrowserRouter(
  [
    {
      path: "/",
      element: <Layout />,
      children: [
        { index: true, element: <Home /> },
        { path: "about", element: <About /> },
        { path: "greet/:name?", element: <Greeting /> },
        { path: "*", element: <NotFound /> },
      ],
    },
  ],
  { basename: prefix },
);

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <RouterProvider router={router} />
  </StrictMode>,
);
