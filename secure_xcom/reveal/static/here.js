// A reveal on the person's own computer: there is no login, and the address that started the page carries a secret
// that is good for one page.

/** Who is known by the one-time secret of the address. */
export class HereLogin {
  identityToken() {
    return "";
  }

  forget() {}
}
