// The first page of the login's window. It takes the address of the provider from the page that opened it, and from
// no other, and keeps the login's state, so that /callback knows that this very window began it.

addEventListener("message", ({ origin, source, data }) => {
  if (origin !== location.origin || source !== window.opener || !data) return;
  const url = new URL(data.url);
  const isLocal = ["127.0.0.1", "localhost", "[::1]"].includes(url.hostname);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && isLocal)) return;
  if (typeof data.state !== "string" || url.searchParams.get("state") !== data.state) return;
  sessionStorage.setItem("login-state", data.state);
  location.replace(url.href);
});

if (window.opener) window.opener.postMessage({ ready: true }, location.origin);
else document.getElementById("said").textContent = "Start from the value that you want to see. This page begins no login of its own.";
