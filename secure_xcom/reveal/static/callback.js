// The last page of the login's window: it hands the provider's code to the page that began the login. A code for a
// login that another window began is dropped: somebody sent this person a link of their own.

const said = document.getElementById("said");
const given = new URLSearchParams(location.search);
const [state, code, error] = ["state", "code", "error"].map((name) => given.get(name));
const begun = sessionStorage.getItem("login-state");
sessionStorage.removeItem("login-state");
history.replaceState(null, "", location.pathname);

async function handOver() {
  if (!state || state !== begun) return "This window did not begin this login, so it was dropped. If you followed a link to get here, report who sent it.";
  if (window.opener) window.opener.postMessage({ state, code, error }, location.origin);
  else if (code) {
    const options = { method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ code }), credentials: "omit" };
    const answer = await fetch(`/v1/logins/${encodeURIComponent(state)}`, options).catch(() => null);
    if (!answer?.ok) return "The reveal service did not take the login. Close this window and start again.";
  }
  if (error) return "The identity provider refused the login. Close this window and start again.";
  window.close();
  return "You are logged in. You can close this window.";
}

said.textContent = await handOver();
