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
