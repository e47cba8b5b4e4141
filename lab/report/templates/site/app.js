"use strict";
/* The overview of many runs. All data lies in the page; everything is put in as text, never as markup.
   What is chosen lies in the URL behind "#", so that a link shows what its sender saw. */
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SIGNS = { PASS: "✓", XFAIL: "≈", FAIL: "✗", XPASS: "‼", ERROR: "!", MISS: "?", SKIP: "–" };
  const ROWS_AT_ONCE = 200, LINES_AT_MOST = 400, COLUMNS_AT_MOST = 60, CELLS_OF_FINDING = 40, NIGHTS_IN_LIST = 14;
  const outcomes = data.outcomes;
  const at = (id) => document.getElementById(id);
  const cells = data.cells.map(([id, matrix, axes, history, reason, seconds, found, note, changed], index) => {
    const last = history.length - 1 - [...history].reverse().findIndex((one) => one !== ".");
    return { id, index, matrix, axes, history, last, outcome: Number(history[last]), reason: data.reasons[reason],
             seconds, found, note, changed: changed === 1, words: null };
  });
  const views = ["grid", "findings", "cells", "nights"];

  function el(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return made;
  }
  const kind = (outcome) => outcomes[outcome].toLowerCase();
  const sign = (outcome) => SIGNS[outcomes[outcome]] || "?";
  const badge = (outcome) =>
    el("span", { class: `badge ${kind(outcome)}` }, el("span", { "aria-hidden": "true" }, `${sign(outcome)} `), outcomes[outcome]);
  const many = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
  const pageOf = (cell) => `cells/${encodeURIComponent(data.matrices[cell.matrix].folder)}/${encodeURIComponent(cell.id)}.html`;
  const title = (text) => text.length > 300 ? `${text.slice(0, 299)}…` : text;

  // -------------------------------------------------------------------------------------------------- what is chosen

  function parsed() {
    const given = new URLSearchParams(location.hash.slice(1));
    const axis = {};
    for (const [key, value] of given) {
      const number = key.startsWith("a.") ? data.axes.findIndex(([name]) => name === key.slice(2)) : -1;
      if (number >= 0) axis[number] = data.axes[number][1].indexOf(value);
    }
    const named = (key, other) => {
      const number = data.axes.findIndex(([name]) => name === given.get(key));
      return number >= 0 ? number : other;
    };
    return {
      view: views.includes(given.get("view")) ? given.get("view") : "grid",
      q: given.get("q") || "",
      outcome: (given.get("outcome") || "").split(",").map((word) => outcomes.indexOf(word)).filter((one) => one >= 0),
      changed: given.get("changed") === "1",
      found: data.signatures.findIndex((one) => one.key === given.get("found")),
      axis, rows: named("rows", data.rows), cols: named("cols", data.cols),
      sort: ["name", "time", "outcome"].includes(given.get("sort")) ? given.get("sort") : "outcome",
      more: Math.max(1, Math.min(1000, Number(given.get("more")) || 1)),
    };
  }

  function hash(state) {
    const given = new URLSearchParams();
    if (state.view !== "grid") given.set("view", state.view);
    if (state.q) given.set("q", state.q);
    if (state.outcome.length) given.set("outcome", state.outcome.map((one) => outcomes[one]).join(","));
    if (state.changed) given.set("changed", "1");
    if (state.found >= 0) given.set("found", data.signatures[state.found].key);
    for (const [number, value] of Object.entries(state.axis)) {
      if (value >= 0) given.set(`a.${data.axes[number][0]}`, data.axes[number][1][value]);
    }
    if (state.rows !== data.rows) given.set("rows", data.axes[state.rows][0]);
    if (state.cols !== data.cols) given.set("cols", data.axes[state.cols][0]);
    if (state.sort !== "outcome") given.set("sort", state.sort);
    if (state.more > 1) given.set("more", String(state.more));
    return `#${given}`;
  }

  let state = parsed();
  const changedTo = (changes) => ({ ...state, more: 1, ...changes });
  // replace: what is typed letter by letter is one step back, not ten
  function choose(changes, replace) {
    const wanted = hash(changedTo(changes));
    if (replace) location.replace(wanted); else location.hash = wanted;
  }

  function wordsOf(cell) {
    if (cell.words === null) {
      const found = cell.found.map((one) => ["id", "blame", "key"].map((what) => data.signatures[one][what]).join(" "));
      const axes = cell.axes.map((value, number) => value >= 0 ? data.axes[number][1][value] : "");
      cell.words = [cell.id, outcomes[cell.outcome], cell.reason, cell.note, ...found, ...axes].join(" ").toLowerCase();
    }
    return cell.words;
  }

  function chosen(without) {
    const wanted = without === "q" ? [] : state.q.toLowerCase().split(/\s+/).filter(Boolean);
    const axes = Object.entries(state.axis);
    return cells.filter((cell) =>
      (without === "outcome" || !state.outcome.length || state.outcome.includes(cell.outcome)) &&
      (!state.changed || cell.changed) && (state.found < 0 || cell.found.includes(state.found)) &&
      axes.every(([number, value]) => cell.axes[number] === value) &&
      wanted.every((word) => wordsOf(cell).includes(word)));
  }

  // ------------------------------------------------------------------------------------------------------- controls

  function renderControls() {
    const counts = outcomes.map(() => 0);
    for (const cell of chosen("outcome")) counts[cell.outcome] += 1;
    at("totals").replaceChildren(...outcomes.map((word, number) => {
      if (!counts[number] && !state.outcome.includes(number)) return null;
      const on = state.outcome.includes(number);
      const button = el("button", { type: "button", class: "total", "aria-pressed": String(on), "data-outcome": word,
        title: `${on ? "do not choose" : "choose"} ${word} only: ${data.meanings[number]}` }, badge(number), ` ${counts[number].toLocaleString("en")}`);
      button.addEventListener("click", () => {
        choose({ outcome: on ? state.outcome.filter((one) => one !== number) : [...state.outcome, number] });
      });
      return button;
    }).filter(Boolean));
    if (document.activeElement !== at("q")) at("q").value = state.q;
    at("changed").checked = state.changed;
    for (const select of document.querySelectorAll("select[data-axis]")) {
      const number = Number(select.dataset.axis);
      select.value = number in state.axis ? String(state.axis[number]) : "";
      select.parentElement.classList.toggle("set", number in state.axis);
    }
    at("rows").value = String(state.rows);
    at("cols").value = String(state.cols);
    for (const link of document.querySelectorAll("nav a")) {
      link.href = hash(changedTo({ view: link.dataset.view }));
      if (link.dataset.view === state.view) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    }
    for (const view of views) at(view).hidden = view !== state.view;
    const found = state.found >= 0 ? data.signatures[state.found] : null;
    at("found").replaceChildren(...(found ? ["only cells with ", el("code", {}, found.id), ` ${found.blame} `,
      el("a", { href: hash(changedTo({ found: -1 })) }, "all findings")] : []));
    const narrowed = state.q || state.outcome.length || state.changed || found || Object.keys(state.axis).length;
    at("clear").hidden = !narrowed;
    at("clear").href = hash(changedTo({ q: "", outcome: [], changed: false, found: -1, axis: {} }));
  }

  function buildControls() {
    const filters = at("filters");
    data.axes.forEach(([name, values], number) => {
      if (values.length < 2) return;
      const select = el("select", { "data-axis": number, id: `axis-${number}` }, el("option", { value: "" }, "all"),
        ...values.map((value, index) => el("option", { value: index }, value || "(none)")));
      select.addEventListener("change", () => {
        const axis = { ...state.axis };
        if (select.value === "") delete axis[number]; else axis[number] = Number(select.value);
        choose({ axis });
      });
      filters.append(el("label", {}, `${name} `, select));
    });
    for (const which of ["rows", "cols"]) {
      at(which).append(...data.axes.map(([name, values], number) => el("option", { value: number }, `${name} (${values.length})`)));
      at(which).addEventListener("change", () => choose({ [which]: Number(at(which).value) }));
    }
    at("q").addEventListener("input", () => choose({ q: at("q").value }, true));
    at("changed").addEventListener("change", () => choose({ changed: at("changed").checked }));
    document.addEventListener("keydown", (event) => {
      const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
      if (event.key === "/" && !typing) { event.preventDefault(); at("q").focus(); at("q").select(); }
      if (event.key === "Escape" && document.activeElement === at("q")) { at("q").value = ""; choose({ q: "" }); at("q").blur(); }
      if (!typing && !event.ctrlKey && !event.altKey && !event.metaKey && /^[1-4]$/.test(event.key)) choose({ view: views[event.key - 1] });
    });
  }

  // ----------------------------------------------------------------------------------------------------------- grid

  function tally(some) {
    const counts = outcomes.map(() => 0);
    for (const cell of some) counts[cell.outcome] += 1;
    return counts;
  }

  function tile(some, row, column) {
    const counts = tally(some);
    const worst = counts.findIndex((count) => count > 0);
    const words = outcomes.map((word, number) => counts[number] ? `${counts[number]} ${word}` : "").filter(Boolean).join(", ");
    if (some.length === 1) {
      return el("a", { class: `tile ${kind(worst)}`, href: pageOf(some[0]), title: title(`${some[0].id}: ${some[0].reason}`) },
        el("b", { "aria-hidden": "true" }, sign(worst)), ` ${outcomes[worst]}`);
    }
    const axis = { ...state.axis, [state.rows]: row, [state.cols]: column };
    return el("a", { class: `tile ${kind(worst)}`, href: hash(changedTo({ view: "cells", axis })), title: words, "aria-label": words },
      counts.map((count, number) => count ? el("span", { class: `count ${kind(number)}` }, `${sign(number)} ${count}`) : null));
  }

  function renderGrid(some) {
    const groups = new Map();
    const used = [new Set(), new Set()];
    for (const cell of some) {
      const row = cell.axes[state.rows], column = cell.axes[state.cols];
      const key = row * 100000 + column;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(cell);
      used[0].add(row);
      used[1].add(column);
    }
    const ordered = (values) => [...values].sort((a, b) => a - b);
    const rows = ordered(used[0]), columns = ordered(used[1]);
    const label = (axis, value) => value < 0 ? "(not set)" : data.axes[axis][1][value] || "(none)";
    const head = el("tr", {}, el("th", { scope: "col" }, `${data.axes[state.rows][0]} \\ ${data.axes[state.cols][0]}`),
      columns.slice(0, COLUMNS_AT_MOST).map((column) => el("th", { scope: "col" }, label(state.cols, column))));
    const body = rows.slice(0, LINES_AT_MOST).map((row) => el("tr", {}, el("th", { scope: "row" }, label(state.rows, row)),
      columns.slice(0, COLUMNS_AT_MOST).map((column) => {
        const group = groups.get(row * 100000 + column);
        return el("td", {}, group ? tile(group, row, column) : el("span", { class: "none", title: "no such cell" }, "·"));
      })));
    at("gridtable").replaceChildren(el("caption", { class: "hidden" }, "newest verdicts by two axes"), el("thead", {}, head), el("tbody", {}, body));
    const cut = rows.length > LINES_AT_MOST || columns.length > COLUMNS_AT_MOST;
    at("gridnote").textContent = cut ? `of ${rows.length} rows and ${columns.length} columns only ${LINES_AT_MOST} and ${COLUMNS_AT_MOST} are shown: choose some, or other axes` : "";
  }

  // ---------------------------------------------------------------------------------------------------------- cells

  function strip(cell) {
    const nights = data.matrices[cell.matrix].nights;
    const spans = [];
    let said = "";
    for (let index = Math.max(0, cell.history.length - NIGHTS_IN_LIST); index < cell.history.length; index += 1) {
      if (cell.history[index] === ".") {
        spans.push(el("i", { class: "none", title: `${nights[index][1]}: not run` }, "·"));
        continue;
      }
      const outcome = Number(cell.history[index]);
      spans.push(el("i", { class: kind(outcome), title: `${nights[index][1]}: ${outcomes[outcome]}` }, sign(outcome)));
      said += ` ${outcomes[outcome]}`;
    }
    return el("span", { class: "strip", role: "img", "aria-label": `nights, oldest first:${said}` }, spans);
  }

  function duration(seconds) {
    if (!seconds) return "";
    const whole = Math.round(seconds);
    if (whole < 60) return `${whole} s`;
    const two = (number) => String(number).padStart(2, "0");
    return whole < 3600 ? `${Math.floor(whole / 60)} min ${two(whole % 60)}` : `${Math.floor(whole / 3600)} h ${two(Math.floor(whole % 3600 / 60))}`;
  }

  const orders = {
    outcome: (a, b) => a.outcome - b.outcome || a.index - b.index,
    name: (a, b) => a.id < b.id ? -1 : a.id > b.id ? 1 : a.index - b.index,
    time: (a, b) => b.seconds - a.seconds || a.index - b.index,
  };

  function renderCells(some) {
    const shown = [...some].sort(orders[state.sort]).slice(0, ROWS_AT_ONCE * state.more);
    const column = (words, sort) => el("th", { scope: "col", "aria-sort": state.sort === sort ? (sort === "time" ? "descending" : "ascending") : null },
      sort ? el("a", { href: hash(changedTo({ sort })) }, words) : words);
    const several = data.matrices.length > 1;
    at("celltable").replaceChildren(
      el("caption", { class: "hidden" }, "cells"),
      el("thead", {}, el("tr", {}, column("outcome", "outcome"), column("cell", "name"), column("nights"), column("time", "time"), column("reason"))),
      el("tbody", {}, shown.map((cell) => el("tr", {},
        el("td", {}, badge(cell.outcome), cell.note ? el("span", { class: "remark" }, cell.note) : cell.changed ? el("span", { class: "remark" }, "changed") : null),
        el("td", {}, el("a", { href: pageOf(cell) }, cell.id), several ? el("small", {}, ` ${data.matrices[cell.matrix].name}`) : null),
        el("td", {}, strip(cell)),
        el("td", { class: "number" }, duration(cell.seconds)),
        el("td", { class: "reason" }, title(cell.reason))))));
    const rest = some.length - shown.length;
    at("more").hidden = rest <= 0;
    at("more").textContent = `show ${Math.min(rest, ROWS_AT_ONCE)} more of ${rest.toLocaleString("en")}`;
    at("more").onclick = () => choose({ more: state.more + 1 }, true);
  }

  // ------------------------------------------------------------------------------------------------------- findings

  function renderFindings(some) {
    const now = data.signatures.map(() => []);
    for (const cell of some) for (const one of cell.found) now[one].push(cell);
    const shown = data.signatures.map((_, number) => number).filter((number) => now[number].length)
      .sort((a, b) => now[b].length - now[a].length || a - b);
    at("findinglist").replaceChildren(...shown.slice(0, LINES_AT_MOST).map((number) => {
      const one = data.signatures[number];
      const first = one.days.findIndex((count) => count > 0);
      const peak = Math.max(1, ...one.days);
      const bars = one.days.map((count, day) => el("i", { style: `height:${count ? Math.max(12, Math.round(100 * count / peak)) : 4}%`,
        class: count ? "some" : "", title: `${data.days[day]}: ${many(count, "cell")}` }));
      return el("article", { class: "group" },
        el("h3", {}, one.page ? el("a", { href: `explain/${encodeURIComponent(one.id)}.html`, title: "what this finding means" }, el("code", {}, one.id)) : el("code", {}, one.id),
          ` ${one.blame}`, one.function ? el("code", {}, ` ${one.function}()`) : null),
        el("p", { class: "message" }, one.message),
        el("p", { class: "facts" }, el("a", { href: hash(changedTo({ view: "cells", found: number })) }, many(now[number].length, "cell")),
          first >= 0 ? ` · first seen ${data.days[first]}` : null,
          " · signature ", el("code", { class: "key", title: "names this fault in a file of known issues" }, one.key),
          el("span", { class: "bars", role: "img", "aria-label": `cells by day, oldest first: ${one.days.join(" ")}` }, bars)),
        el("details", {}, el("summary", {}, "cells"), el("ul", { class: "plainlist" },
          now[number].slice(0, CELLS_OF_FINDING).map((cell) => el("li", {}, badge(cell.outcome), " ", el("a", { href: pageOf(cell) }, cell.id))),
          now[number].length > CELLS_OF_FINDING ? el("li", {}, `and ${now[number].length - CELLS_OF_FINDING} more`) : null)));
    }));
    at("findingnote").textContent = shown.length > LINES_AT_MOST ? `the ${LINES_AT_MOST} with most cells of ${shown.length}` :
      shown.length ? "" : "no finding that decides, in the cells that are chosen";
  }

  // --------------------------------------------------------------------------------------------------------- nights

  /* Columns are the runs of a matrix; of several matrices days, of each of which a cell's last verdict counts. */
  function byNight(some) {
    const matrices = [...new Set(some.map((cell) => cell.matrix))];
    const single = matrices.length === 1;
    const labels = single ? data.matrices[matrices[0]].nights.map(([, when]) => when) : data.days;
    const place = single ? null : data.matrices.map((matrix) => matrix.nights.map(([, when]) => data.days.indexOf(when.slice(0, 10))));
    const counts = labels.map(() => outcomes.map(() => 0));
    for (const cell of some) {
      const last = new Map();
      for (let index = 0; index < cell.history.length; index += 1) {
        if (cell.history[index] !== ".") last.set(single ? index : place[cell.matrix][index], Number(cell.history[index]));
      }
      for (const [column, outcome] of last) counts[column][outcome] += 1;
    }
    return { labels, counts };
  }

  function drawChart(place, labels, counts, used, shown) {
    place.replaceChildren();
    if (!used.length || !shown.length) return;
    const width = place.parentElement.clientWidth;  // its own is 0 while it is empty
    place.style.setProperty("--bar", `${Math.max(2, Math.min(28, Math.floor(0.65 * width / used.length)))}px`);
    const every = Math.ceil(used.length / Math.max(1, Math.floor(width / 90)));
    new Chartist.BarChart(place, {
      labels: used.map((index, column) => column % every ? "" : labels[index].slice(5, 10)),
      series: shown.map((number) => ({ className: kind(number), name: outcomes[number], data: used.map((index) => counts[index][number]) })),
    }, { stackBars: true, axisY: { onlyInteger: true, offset: 44, scaleMinSpace: 30 }, axisX: { showGrid: false }, chartPadding: { top: 12, right: 8, bottom: 0, left: 0 } })
      .on("draw", (drawn) => {
        if (drawn.type !== "bar") return;
        const name = document.createElementNS("http://www.w3.org/2000/svg", "title");
        name.textContent = `${labels[used[drawn.index]]}: ${drawn.value.y} ${drawn.series.name}`;
        drawn.element.getNode().append(name);
      });
    place.setAttribute("aria-label", `cells by night, ${labels[used[0]]} to ${labels[used[used.length - 1]]}; the table below has the numbers`);
  }

  function renderNights(some) {
    const { labels, counts } = byNight(some);
    const used = labels.map((_, index) => index).filter((index) => counts[index].some((count) => count > 0));
    const present = outcomes.map((_, number) => number).filter((number) => used.some((index) => counts[index][number]));
    at("nighttable").replaceChildren(el("caption", {}, "cells by night and outcome"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "night"), present.map((number) => el("th", { scope: "col" }, badge(number))))),
      el("tbody", {}, [...used].reverse().map((index) => el("tr", {}, el("th", { scope: "row" }, labels[index]),
        present.map((number) => el("td", { class: "number" }, counts[index][number] || ""))))));
    const bad = present.filter((number) => data.unexpected.includes(number));
    at("badcaption").hidden = !bad.length;
    drawChart(at("badchart"), labels, counts, used, bad);
    drawChart(at("chart"), labels, counts, used, present);
  }

  // ----------------------------------------------------------------------------------------------------------- all

  function render() {
    state = parsed();
    const some = chosen();
    renderControls();
    at("count").textContent = some.length === cells.length ? many(cells.length, "cell") : `${some.length.toLocaleString("en")} of ${many(cells.length, "cell")}`;
    ({ grid: renderGrid, cells: renderCells, findings: renderFindings, nights: renderNights })[state.view](some);
  }

  buildControls();
  render();
  window.addEventListener("hashchange", render);
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
})();
