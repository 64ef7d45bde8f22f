// In each page of JupyterLab: shows what the lead says, and asks for leave to look at the notebooks.
"use strict";
(() => {
  const base = JSON.parse(document.getElementById("jupyter-config-data").textContent).baseUrl;
  const seen = "workbook-board-" + base;
  const bar = document.createElement("div");
  bar.setAttribute("role", "status");
  bar.style.cssText = "position:fixed;inset:auto 1rem 1rem auto;max-width:26rem;z-index:10000;padding:.75rem 1rem;" +
    "border:2px solid #0b57d0;border-radius:6px;background:#fff;color:#1f1f1f;font:1rem/1.4 system-ui,sans-serif;" +
    "box-shadow:0 2px 8px #0006;overflow-wrap:anywhere;display:none";
  let shown = "";
  const button = (text, act) => {
    const made = document.createElement("button");
    made.textContent = text;
    made.style.cssText = "font:inherit;margin:.5rem .5rem 0 0;padding:.2rem .7rem";
    made.addEventListener("click", () => Promise.resolve(act()).then(look));
    return made;
  };
  const line = text => Object.assign(document.createElement("div"), { textContent: text });
  // A Hub wants the token of reads too, where a page makes them.
  const call = options => fetch(base + "workbook/board", {
    ...options,
    headers: {
      "X-XSRFToken": (document.cookie.match(/(?:^|; )_xsrf=([^;]*)/) || ["", ""])[1], "Content-Type": "application/json",
    },
  });
  const say = yes => call({ method: "POST", body: JSON.stringify({ yes }) });
  const show = board => {
    const parts = [];
    if (board.text && Number(localStorage.getItem(seen)) < board.number) {
      parts.push(line("From the lead: " + board.text));
      const away = () => localStorage.setItem(seen, board.number);
      if (board.notebook)
        parts.push(button("Open " + board.notebook, () => {
          away();
          const path = board.notebook + ".ipynb";
          if (window.jupyterapp) return window.jupyterapp.commands.execute("docmanager:open", { path });
          location.href = base + "lab/tree/" + path;
        }));
      parts.push(button("Put away", away));
    }
    if (board.asks)
      parts.push(line("The lead asks to look at your notebooks. They can read them, and change nothing."),
        button("Allow for an hour", () => say(true)), button("No", () => say(false)));
    else if (board.looks) parts.push(line("The lead may look at your notebooks."), button("No longer", () => say(false)));
    bar.replaceChildren(...parts);
    bar.style.display = parts.length ? "block" : "none";
  };
  const look = async () => {
    const answer = await call({});
    if (!answer.ok) return;
    const text = await answer.text(), key = text + localStorage.getItem(seen);
    if (key !== shown) { shown = key; show(JSON.parse(text)); }
  };
  const again = () => look().catch(() => {}).then(() => setTimeout(again, 5000));
  addEventListener("load", () => { document.body.append(bar); again(); });
})();
