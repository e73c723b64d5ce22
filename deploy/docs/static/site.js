// What Sphinx and Furo leave out for assistive technology: the level of the contents' headings, the
// names of the two sidebars, and a way to scroll wide tables and code by keyboard.
for (const caption of document.querySelectorAll('.caption[role="heading"]')) {
  caption.ariaLevel = "2"
}
for (const [sidebar, label] of [["sidebar", "Contents"], ["toc", "On this page"]]) {
  document.querySelector(`.${sidebar}-drawer`)?.setAttribute("aria-label", label)
}
for (const wide of document.querySelectorAll(".table-wrapper, .highlight > pre")) {
  if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0
}

// A button beside each block of code, where the browser lets a page write to the clipboard.
if (navigator.clipboard) {
  for (const block of document.querySelectorAll("div.highlight")) {
    const button = document.createElement("button")
    button.type = "button"
    button.className = "copy"
    button.textContent = "Copy"
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(block.querySelector("pre").textContent.trimEnd())
      button.textContent = "Copied"
      setTimeout(() => (button.textContent = "Copy"), 2000)
    })
    block.append(button)
  }
}
