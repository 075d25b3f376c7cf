// What went wrong, by the class of the product's error tree, with what to do.

const REMEDIES = {
  ReferenceMalformed: "Report it to who runs Airflow: the row was not written by the backend, or was changed.",
  ReferenceVersionUnknown: "Update the reveal service: the XCom was pushed by a later release.",
  ReferenceExpired: "The XCom's retention is over. Run the task again to make a new value.",
  ClockSkewed: "Compare this computer's clock with that of the worker that pushed the XCom.",
  CoordinateMismatch: "Treat it as tampering: somebody moved a row or copied it. Report it to the security team.",
  AttemptMismatch: "Treat it as tampering: somebody moved a row or copied it. Report it to the security team.",
  ContextRefused: "Report it to who runs the reveal service: it named another place or key than this XCom's.",
  ClaimRefused: "An exclusive XCom is for one task instance only. Nobody can look at it.",
  HeadTampered: "Treat it as tampering: somebody edited the reference in Airflow's database. Report it to the security team.",
  PayloadSwapped: "Treat it as tampering: somebody exchanged the payload in the store. Report it to the security team.",
  PayloadTampered: "Treat it as tampering: somebody changed the payload in the store. Report it to the security team.",
  PayloadTruncated: "Somebody cut or extended the payload in the store, or it was written in part. Report it.",
  CodecUnknown: "Open it with the secure-xcom open command, where the package that made the value is installed.",
  ValueNotDecodable: "Open it with the secure-xcom open command and --out, and look at the bytes.",
  ValueTooLarge: "Open it with the secure-xcom open command and --out.",
  LoginRefused: "Log in again. If it stays, ask who runs the identity provider.",
  LoginUnavailable: "Check that this browser reaches the login server, then try again.",
  LoginNotFinished: "Start again, and finish the login in the window that opens.",
  WindowBlocked: "Allow this page to open windows, then try again.",
  KeyServiceDenied: "Ask for a place in a group of the compartment's viewers, and log in again afterwards.",
  KeyServiceUnavailable: "Check that this browser reaches the key service, then try again.",
  UnwrapRefused: "Report it to who runs Airflow: the wrap belongs to another task, or its key version is gone.",
  ServiceUnavailable: "Check that this browser reaches the reveal service, then try again.",
};

/** An error of the product's tree; `by` says who refused: the page, the reveal service or the key service. */
export class Problem extends Error {
  constructor(name, what, { where = "", remedy = "", by = "this page" } = {}) {
    super(what);
    Object.assign(this, { name, what, where, by, remedy: remedy || REMEDIES[name] || "" });
  }
}

/** Return the class and the text of a problem, or of a fault of this page, which has no text from a value. */
export function explain(error) {
  if (error instanceof Problem) return error;
  return new Problem("PageFault", "the page met a fault of its own", { where: error?.name ?? "", remedy: "Reload the page. Use the secure-xcom open command if it stays." });
}
