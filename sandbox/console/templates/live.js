// Loads the page's live part again each second while the page is seen; without a script, reload by hand.
"use strict";
async function again() {
  if (!document.hidden) {
    const answer = await fetch(location.href);
    const fresh = answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-live]");
    const shown = document.querySelector("[data-live]");
    if (fresh && shown && !shown.contains(document.getSelection().anchorNode) && fresh.innerHTML !== shown.innerHTML)
      shown.innerHTML = fresh.innerHTML;
  }
  setTimeout(() => again().catch(() => setTimeout(again, 5000)), 1000);
}
setTimeout(again, 1000);
