// Tabs as the ARIA Authoring Practices have them: one of them in the tab order, arrows, Home and End move and select.

export class Tabs {
  constructor(list, panel, windows, choose) {
    Object.assign(this, { panel, choose });
    this.tabs = windows.map(({ id, label }, index) => {
      const tab = document.createElement("button");
      Object.assign(tab, { type: "button", id: `tab-${index}`, textContent: label });
      tab.dataset.window = id;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", panel.id);
      tab.addEventListener("click", () => this.activate(index));
      return list.appendChild(tab);
    });
    list.addEventListener("keydown", (event) => this.key(event));
  }

  get selected() {
    return this.tabs.findIndex((tab) => tab.getAttribute("aria-selected") === "true");
  }

  select(window) {
    for (const tab of this.tabs) {
      const selected = tab.dataset.window === window;
      tab.setAttribute("aria-selected", String(selected));
      tab.tabIndex = selected ? 0 : -1;
      if (selected) {
        this.panel.setAttribute("aria-labelledby", tab.id);
        tab.scrollIntoView({ block: "nearest", inline: "nearest" });
      }
    }
  }

  activate(index) {
    const tab = this.tabs[index];
    tab.focus();
    this.choose(tab.dataset.window);
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const last = this.tabs.length - 1;
    const at = this.selected;
    const to = { ArrowLeft: at ? at - 1 : last, ArrowRight: at < last ? at + 1 : 0, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to !== at) this.activate(to);
  }
}
