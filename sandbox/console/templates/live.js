// Loads the page's live part again while the page is seen, each second or as often as the part says in seconds.
"use strict";
const pause = 1000 * (Number(document.querySelector("[data-live]")?.dataset.live) || 1);
async function again() {
  if (!document.hidden) {
    const answer = await fetch(location.href);
    const fresh = answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-live]");
    const shown = document.querySelector("[data-live]");
    if (fresh && shown && !shown.contains(document.getSelection().anchorNode) && fresh.innerHTML !== shown.innerHTML)
      shown.innerHTML = fresh.innerHTML;
  }
  setTimeout(() => again().catch(() => setTimeout(again, 5000)), pause);
}
setTimeout(again, pause);
