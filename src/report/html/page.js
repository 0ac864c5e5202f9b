"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const rows = data.rows;
  const HEIGHT = 26; // of a line of the tree, in CSS pixels
  const SPARE = 20; // lines kept above and below what is seen
  const STEP = 8; // bytes in a row of bytes
  const PRINTED = 2000; // paths on paper, at most
  const $ = (id) => document.getElementById(id);

  // An element: tag, attributes, children (text or elements). Text never becomes markup.
  function el(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
    return element;
  }
  // The words of the text report for a kind of difference.
  const words = (kind) => kind.replace(/^only-([ab])$/, (_, side) => `only in ${side.toUpperCase()}`);
  const count = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
  const cause = (row) => data.causes[row.cause];

  // ---- the tree: a directory a node, in the order of the report -------------------------------
  const root = { id: 0, name: "/", path: "", children: [], row: -1, parent: null, open: true, level: 1 };
  const nodes = new Map([["", root]]);
  function node(path) {
    const known = nodes.get(path);
    if (known) return known;
    const slash = path.lastIndexOf("/");
    const parent = node(slash < 0 ? "" : path.slice(0, slash));
    const name = path.slice(slash + 1);
    const made = { id: nodes.size, name, path, children: [], row: -1, parent, open: true, level: parent.level + 1 };
    parent.children.push(made);
    nodes.set(path, made);
    return made;
  }
  rows.forEach((row, i) => {
    node(row.path === "." ? "" : row.path).row = i;
  });
  const all = [...nodes.values()];

  // ---- filters ----------------------------------------------------------------------------------
  const filter = { cause: -1, text: "", pack: "", change: "" };
  let shown = 0;
  function passes(row) {
    return (
      (filter.cause < 0 || row.cause === filter.cause) &&
      (filter.pack === "" ||
        (filter.pack === "-" ? row.packages.length === 0 : row.packages.includes(+filter.pack))) &&
      (filter.change === "" || row.changes.includes(filter.change)) &&
      (filter.text === "" || ("/" + row.path).toLowerCase().includes(filter.text))
    );
  }
  // Sets of every node how many paths that pass are in it, itself included.
  function judge() {
    shown = 0;
    for (const n of all) n.hits = 0;
    for (const n of all) {
      n.passes = n.row >= 0 && passes(rows[n.row]);
      if (!n.passes) continue;
      shown += 1;
      for (let up = n; up; up = up.parent) up.hits += 1;
    }
  }
  let lines = []; // the nodes that are on the screen if one scrolls far enough, in order
  function flatten() {
    lines = [];
    const todo = [root];
    while (todo.length) {
      const n = todo.pop();
      n.line = -1;
      if (n.hits === 0) continue;
      n.line = lines.push(n) - 1;
      if (!n.open) continue;
      const kids = n.children.filter((c) => c.hits > 0);
      kids.forEach((kid, i) => { kid.place = i + 1; kid.of = kids.length; });
      for (let i = kids.length - 1; i >= 0; i -= 1) todo.push(kids[i]);
    }
    root.place = root.of = 1;
  }

  // ---- drawing only what is seen ----------------------------------------------------------------
  const scroll = $("scroll");
  const tree = $("tree");
  let chosen = null;
  const drawn = new Map();
  function draw() {
    const first = Math.max(0, Math.floor(scroll.scrollTop / HEIGHT) - SPARE);
    const last = Math.min(lines.length, Math.ceil((scroll.scrollTop + scroll.clientHeight) / HEIGHT) + SPARE);
    const wanted = new Set(lines.slice(first, last));
    if (chosen && chosen.line >= 0) wanted.add(chosen);
    for (const [n, item] of drawn) {
      if (!wanted.has(n)) {
        item.remove();
        drawn.delete(n);
      }
    }
    for (const n of wanted) {
      if (!drawn.has(n)) {
        const item = line(n);
        drawn.set(n, item);
        tree.append(item);
      }
    }
    const active = chosen && drawn.get(chosen);
    if (active) tree.setAttribute("aria-activedescendant", active.id);
    else tree.removeAttribute("aria-activedescendant");
  }
  function line(n) {
    const folder = n.children.some((c) => c.hits > 0);
    const row = n.passes ? rows[n.row] : null;
    const item = el(
      "li",
      {
        role: "treeitem",
        id: `n${n.id}`,
        "aria-level": n.level,
        "aria-posinset": n.place,
        "aria-setsize": n.of,
        "aria-expanded": folder ? String(n.open) : null,
        "aria-selected": String(n === chosen),
      },
      el("span", { class: "twist", "aria-hidden": "true" }, folder ? (n.open ? "▾" : "▸") : ""),
      el("span", { class: "mono" }, n.name + (folder && n !== root ? "/" : "")),
      row && el("span", { class: `tag ${cause(row).kind}` }, cause(row).word),
      row && el("span", { class: "count" }, row.changes.map(words).join(", ")),
      folder && el("span", { class: "count" }, count(n.hits, "path", "paths")),
    );
    item.style.top = `${n.line * HEIGHT}px`;
    item.style.paddingLeft = `${(n.level - 1) * 1.1 + 0.2}rem`;
    return item;
  }
  function redraw() {
    flatten();
    for (const item of drawn.values()) item.remove();
    drawn.clear();
    tree.style.height = `${Math.max(lines.length, 1) * HEIGHT}px`;
    $("status").textContent = `${shown.toLocaleString("en")} of ${count(rows.length, "path", "paths")}`;
    draw();
  }
  let waiting = false;
  scroll.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  });
  window.addEventListener("resize", draw);

  function refilter() {
    judge();
    if (chosen && chosen.hits === 0) chosen = null;
    scroll.scrollTop = 0;
    redraw();
    if (!chosen && lines.length) choose(lines.find((n) => n.passes) || lines[0]);
    if (!lines.length) detail(null);
    remember();
  }
  function choose(n) {
    if (!n) return;
    const before = chosen;
    chosen = n;
    for (let up = n.parent; up; up = up.parent) {
      if (!up.open) { up.open = true; redraw(); }
    }
    for (const m of [before, n]) {
      if (m && drawn.has(m)) drawn.get(m).setAttribute("aria-selected", String(m === n));
    }
    const top = n.line * HEIGHT;
    if (top < scroll.scrollTop) scroll.scrollTop = top;
    else if (top + HEIGHT > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = top + HEIGHT - scroll.clientHeight;
    draw();
    detail(n);
    remember();
  }
  function fold(n, open) {
    if (n.children.length === 0 || n.open === open) return;
    n.open = open;
    redraw();
  }
  function foldAll(open) {
    for (const n of all) n.open = open || n === root;
    while (chosen && chosen.parent && !chosen.parent.open) chosen = chosen.parent;
    redraw();
    if (chosen) choose(chosen);
  }
  // What is looked at stands in the address, so that a link leads there.
  function remember() {
    try {
      history.replaceState(null, "", chosen ? "#" + encodeURIComponent("/" + chosen.path) : "#");
    } catch { /* some viewers do not allow it */ }
  }

  // ---- the chosen path --------------------------------------------------------------------------
  const pane = $("detail");
  function detail(n) {
    pane.replaceChildren();
    pane.scrollTop = 0;
    if (!n) {
      pane.append(el("p", {}, rows.length ? "No path passes the filters." : "No path differs."));
      return;
    }
    pane.append(el("h2", { class: "mono" }, "/" + n.path));
    if (n.row < 0) {
      pane.append(el("p", {}, `A directory that is the same itself; ${count(n.hits, "path", "paths")} in it.`));
      return;
    }
    const row = rows[n.row];
    pane.append(...explained(row), facts(row), ...look(row));
  }
  function explained(row) {
    const why = cause(row);
    const parts = [
      el("p", {}, el("span", { class: `tag first ${why.kind}` }, why.word), why.title === why.word ? null : ` ${why.title}`),
    ];
    if (row.of !== undefined) {
      const jump = el("button", { type: "button" }, "/" + row.of);
      jump.addEventListener("click", () => { clear(); choose(nodes.get(row.of)); });
      parts.push(el("p", {}, "Consequence of ", jump, `: ${row.how}.`));
    }
    const said = [...(row.reason ? [row.reason] : []), ...row.lines, ...row.details];
    if (said.length) {
      parts.push(el("h3", {}, "What differs"), el("ul", { class: "lines" }, ...said.map((line) => el("li", {}, line))));
    }
    for (const name of why.plugins) {
      const page = data.plugins[name];
      if (!page) continue;
      parts.push(
        el("details", {},
          el("summary", {}, `Plugin ${name}: ${page.summary}`),
          el("table", {}, el("tbody", {}, ...page.rows.map(([title, text]) =>
            el("tr", {}, el("th", { scope: "row" }, title), el("td", {}, text)))))),
      );
    }
    return parts;
  }
  function facts(row) {
    const keys = ["type", "mode", "uid", "gid", "size", "object"];
    const value = (side, key) => (side ? String(side[key]) : "absent");
    const body = keys.map((key) => el("tr", {}, el("th", { scope: "row" }, key), el("td", {}, value(row.a, key)), el("td", {}, value(row.b, key))));
    const packages = row.packages.map((p) => data.packages[p]).join(", ") || "no package";
    return el("details", {},
      el("summary", {}, `Metadata; owned by ${packages}`),
      el("table", { class: "facts" },
        el("thead", {}, el("tr", {}, el("td", {}), el("th", { scope: "col" }, "A"), el("th", { scope: "col" }, "B"))),
        el("tbody", {}, ...body)));
  }

  // ---- both contents, side by side --------------------------------------------------------------
  function look(row) {
    const seen = row.look;
    if (seen === undefined || seen === null) {
      return row.changes.some((c) => ["content", "only-a", "only-b"].includes(c)) && data.omitted
        ? [el("p", { class: "sum" }, row.of === undefined ? "The contents are not in this page, which would grow too large." : "The contents are shown where the cause is.")]
        : [];
    }
    const secret = seen.rows.kind === "secret";
    const text = secret || seen.rows.kind === "text";
    const within = seen.within.map((w) => `inside ${w}`).join(", ");
    const title = secret ? "A secret: its length and digest" : `${text ? "Lines" : "Bytes"} side by side${within ? ", " + within : ""}`;
    const wide = text ? 4 : 6;
    const head = text
      ? [["A", 2], ["B", 2]]
      : [["offset", 1], ["A", 2], ["B", 2]];
    const body = [];
    let next = null;
    for (const pair of seen.rows.rows) {
      const at = pair.a ? pair.a[0] : pair.b[0];
      if (next !== null && pair.same && at > next) {
        body.push(el("tr", { class: "gap" }, el("td", { colspan: wide }, "⋯")));
      }
      next = at + (text ? 1 : STEP);
      body.push(text ? textRow(pair) : byteRow(pair));
    }
    const table = el("table", { class: text ? "text" : "bytes" },
      el("caption", { class: "sr" }, title),
      text && el("colgroup", {}, ...["no", null, "no", null].map((kind) => el("col", { class: kind }))),
      el("thead", {}, el("tr", {}, ...head.map(([name, span]) => el("th", { scope: "col", colspan: span }, name)))),
      el("tbody", {}, ...body));
    const parts = [el("h3", {}, title), el("div", { class: "diff", tabindex: "0", role: "region", "aria-label": title }, table)];
    if (seen.more) parts.push(el("p", { class: "sum" }, `${count(seen.more, "row that differs is", "rows that differ are")} not in this page.`));
    return parts;
  }
  // The middle part in which two lines differ, marked.
  function marked(mine, other, tag) {
    if (other === null) return [mine];
    let start = 0;
    const short = Math.min(mine.length, other.length);
    while (start < short && mine[start] === other[start]) start += 1;
    let end = 0;
    while (end < short - start && mine[mine.length - 1 - end] === other[other.length - 1 - end]) end += 1;
    if (start + end === 0) return [mine];
    return [mine.slice(0, start), el(tag, {}, mine.slice(start, mine.length - end)), mine.slice(mine.length - end)];
  }
  function textRow(pair) {
    const cells = [];
    for (const [side, other, kind, tag] of [[pair.a, pair.b, "a", "del"], [pair.b, pair.a, "b", "ins"]]) {
      const colour = pair.same || !side ? null : kind;
      const parts = !side ? [""] : pair.same ? [side[1]] : marked(side[1], other && other[1], tag);
      cells.push(el("td", { class: "no" }, side ? String(side[0]) : ""), el("td", { class: colour }, ...parts));
    }
    return el("tr", {}, ...cells);
  }
  function byteRow(pair) {
    const offset = pair.a ? pair.a[0] : pair.b[0];
    const cells = [el("td", { class: "no" }, offset.toString(16).padStart(8, "0"))];
    const pieces = (hex) => hex ? hex.match(/../g) : [];
    const [a, b] = [pieces(pair.a && pair.a[1]), pieces(pair.b && pair.b[1])];
    const character = (hex) => {
      const code = parseInt(hex, 16);
      return code >= 32 && code < 127 ? String.fromCharCode(code) : ".";
    };
    for (const [mine, other, kind, tag] of [[a, b, "a", "del"], [b, a, "b", "ins"]]) {
      const colour = pair.same ? null : kind;
      const show = (form, glue) => mine.flatMap((hex, i) => {
        const text = form(hex) + glue;
        return [hex === other[i] ? text : el(tag, {}, text)];
      });
      cells.push(el("td", { class: colour }, ...show((h) => h, " ")), el("td", { class: colour }, ...show(character, "")));
    }
    return el("tr", {}, ...cells);
  }

  // ---- controls ---------------------------------------------------------------------------------
  function chips() {
    const box = $("causes");
    const chip = (index, kind, text) => {
      const button = el("button", { type: "button", class: kind, "aria-pressed": String(filter.cause === index) }, text);
      button.addEventListener("click", () => {
        filter.cause = index;
        for (const other of box.children) other.setAttribute("aria-pressed", String(other === button));
        refilter();
      });
      box.append(button);
    };
    const counts = data.causes.map(() => 0);
    rows.forEach((row) => { counts[row.cause] += 1; });
    chip(-1, "expected", `all ${rows.length.toLocaleString("en")}`);
    data.causes.forEach((why, i) => chip(i, why.kind, `${why.word} ${counts[i].toLocaleString("en")}`));
  }
  function options(select, first, values) {
    select.append(el("option", { value: "" }, first));
    for (const [value, text] of values) select.append(el("option", { value }, text));
  }
  function tally(values) {
    const counts = new Map();
    for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
    return counts;
  }
  function clear() {
    Object.assign(filter, { cause: -1, text: "", pack: "", change: "" });
    $("text").value = $("package").value = $("change").value = "";
    [...$("causes").children].forEach((chip, i) => chip.setAttribute("aria-pressed", String(i === 0)));
    judge();
    redraw();
  }
  function controls() {
    chips();
    const packages = tally(rows.flatMap((row) => (row.packages.length ? row.packages : ["-"])));
    const name = (key) => (key === "-" ? "in no package" : data.packages[key]);
    options($("package"), "all packages", [...packages].map(([key, n]) => [key, `${name(key)} (${n})`]).sort((x, y) => (x[1] < y[1] ? -1 : 1)));
    const changes = tally(rows.flatMap((row) => row.changes));
    options($("change"), "all kinds", [...changes].map(([key, n]) => [key, `${words(key)} (${n})`]).sort());
    let timer = 0;
    $("text").addEventListener("input", (event) => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        filter.text = event.target.value.trim().toLowerCase();
        refilter();
      }, 120);
    });
    $("package").addEventListener("change", (event) => { filter.pack = event.target.value; refilter(); });
    $("change").addEventListener("change", (event) => { filter.change = event.target.value; refilter(); });
    $("expand").addEventListener("click", () => foldAll(true));
    $("collapse").addEventListener("click", () => foldAll(false));
    tree.addEventListener("click", (event) => {
      const item = event.target.closest("li");
      const n = item && all[+item.id.slice(1)];
      if (!n) return;
      const twist = event.target.classList.contains("twist");
      if (twist || event.detail === 2) fold(n, !n.open);
      choose(n);
      // On a phone the details are below the tree: show what was tapped.
      if (!twist && n.row >= 0 && matchMedia("(max-width: 60rem)").matches) pane.scrollIntoView();
    });
    tree.addEventListener("keydown", (event) => {
      if (!event.ctrlKey && !event.metaKey && !event.altKey && key(event.key)) event.preventDefault();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || ["INPUT", "SELECT"].includes(event.target.tagName)) return;
      event.preventDefault();
      $("text").focus();
    });
  }
  function key(pressed) {
    const n = chosen && chosen.line >= 0 ? chosen : lines[0];
    if (!n) return false;
    const page = Math.max(1, Math.floor(scroll.clientHeight / HEIGHT) - 1);
    const to = (i) => choose(lines[Math.min(lines.length - 1, Math.max(0, i))]);
    const folder = n.children.some((c) => c.hits > 0);
    const actions = {
      ArrowDown: () => to(n.line + 1),
      ArrowUp: () => to(n.line - 1),
      PageDown: () => to(n.line + page),
      PageUp: () => to(n.line - page),
      Home: () => to(0),
      End: () => to(lines.length - 1),
      ArrowRight: () => (folder && !n.open ? fold(n, true) : folder && to(n.line + 1)),
      ArrowLeft: () => (folder && n.open ? fold(n, false) : choose(n.parent)),
      Enter: () => pane.focus(),
      n: () => choose(lines.find((m) => m.line > n.line && m.passes && cause(rows[m.row]).kind === "unexplained")),
    };
    if (!Object.hasOwn(actions, pressed)) return false;
    actions[pressed]();
    return true;
  }
  function themes() {
    const order = ["system", "light", "dark"];
    let now = 0;
    $("theme").addEventListener("click", () => {
      now = (now + 1) % order.length;
      if (now === 0) delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = order[now];
      $("theme").textContent = `Theme: ${order[now]}`;
    });
  }

  // ---- paper: what passes the filters, without contents -----------------------------------------
  window.addEventListener("beforeprint", () => {
    const passing = rows.filter(passes);
    const box = $("print");
    box.replaceChildren(...passing.slice(0, PRINTED).map((row) => el("section", {},
      el("h2", { class: "mono" }, "/" + (row.path === "." ? "" : row.path)),
      el("p", {}, `${cause(row).word}: ${cause(row).title} [${row.changes.map(words).join(", ")}]`),
      el("ul", { class: "lines" }, ...[...row.lines, ...row.details].map((text) => el("li", {}, text))))));
    if (passing.length > PRINTED) box.append(el("p", {}, `… and ${count(passing.length - PRINTED, "path", "paths")} more.`));
  });
  window.addEventListener("afterprint", () => $("print").replaceChildren());

  controls();
  themes();
  judge();
  $("app").hidden = false;
  redraw();
  const wanted = decodeURIComponent(location.hash.slice(1)).replace(/^\//, "");
  const start = location.hash && nodes.get(wanted);
  const bad = lines.find((n) => n.passes && cause(rows[n.row]).kind === "unexplained");
  if (lines.length) choose(start || bad || lines.find((n) => n.passes) || lines[0]);
  else detail(null);
})();
