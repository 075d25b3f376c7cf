// A placeholder: the module of the page stands here.
globalThis["Sealed XComs"] = globalThis.AirflowPlugin = () => "The page is not built.";
export {};
