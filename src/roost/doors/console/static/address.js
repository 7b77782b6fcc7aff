// Addresses of views, and the title of the page.

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // what somebody typed
  }
}

/** The parts of an address: `#/s/ID/events?at=3` is ["s", "ID", "events"] and its query. */
export function address(hash = location.hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query ?? "") };
}

export function go(path) {
  location.hash = `#${path}`;
}

/** Change the query of the address without a new entry of the history. */
export function setQuery(values) {
  const { parts, query } = address();
  for (const [name, value] of Object.entries(values)) value ? query.set(name, value) : query.delete(name);
  const text = query.toString();
  history.replaceState(null, "", `#/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`);
}

export function title(text) {
  document.title = text ? `${text} · Roost` : "Roost";
}
