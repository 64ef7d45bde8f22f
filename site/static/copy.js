// A button that copies a block of code as it is pasted into a terminal or a cell.
document.addEventListener("DOMContentLoaded", () => {
  // Without a secure context (a page from http) there is no clipboard.
  if (!navigator.clipboard) return;
  for (const block of document.querySelectorAll("div.highlight")) {
    if (block.closest(".cell_output")) continue;
    const code = block.querySelector("pre");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      // `%%terminal` is the notebook's: a terminal doesn't know it.
      const text = code.textContent.replace(/^%%terminal.*\n/, "").replace(/\n$/, "");
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not copied";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    block.append(button);
  }
});
