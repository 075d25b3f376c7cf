// A reveal on the person's own computer: there is no login. The address that started the page has a code that is
// exchanged once for a token of this page's own.

import { beginSession } from "./service.js";

let code = null;
let token = null;

/** Take the code out of the address, so that neither the address bar nor the history keeps it. */
export function takeCode(given) {
  if (!given.has("code")) return;
  code = given.get("code");
  given.delete("code");
  history.replaceState(null, "", `#${given}`);
}

/** Who knows the one-time address. The token stays in this page for the reveals to come. */
export class HereLogin {
  async identityToken() {
    if (code) {
      const once = code;
      code = null;
      ({ token } = await beginSession({ code: once }));
    }
    return token ?? "";
  }

  forget() {}
}
