// The few ways in which this page is filled. What a server says is only ever text.

export const at = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = name in SVG
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const SVG = { g: 1, rect: 1, polyline: 1, text: 1, title: 1 };

/** Fills a list of names and values; a third item is the part of the whole that is drawn as a bar. */
export function list(id, items) {
  at(id).replaceChildren(...items.map(([name, value, part]) => {
    const row = element("div", {}, element("dt", {}, name), element("dd", {}, String(value)));
    if (part !== undefined) {
      row.className = "bar";
      row.style.setProperty("--part", Math.min(1, Math.max(0, part)));
    }
    return row;
  }));
}

/** Fills a table: columns are [title, class], rows are arrays of texts. */
export function table(id, columns, rows, empty) {
  if (rows.length === 0) {
    at(id).replaceChildren(element("tbody", {}, element("tr", {}, element("td", { class: "empty" }, empty))));
    return;
  }
  const head = columns.map(([title, kind]) => element("th", { scope: "col", class: kind }, title));
  const body = rows.map((row) => element("tr", {}, ...row.map((cell, n) =>
    element("td", { class: columns[n][1], title: columns[n][1] === "text" ? cell : undefined }, String(cell)))));
  at(id).replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
}
