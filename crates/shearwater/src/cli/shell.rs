//! `completions`, `man`, `schema`: made from the same tables as everything else.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::exit::{Exit, Failure, Outcome, exits_text};
use super::{Context, command};

/// Arguments of `completions`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  shearwater completions bash > ~/.local/share/bash-completion/completions/shearwater\n  shearwater completions zsh > ~/.zfunc/_shearwater"
)]
pub struct Completions {
    /// Which shell
    shell: clap_complete::Shell,
}

/// Arguments of `man`.
#[derive(Args)]
#[command(after_help = "Examples:\n  shearwater man | man -l -\n  shearwater man ./man1")]
pub struct Man {
    /// Write one page for each command into this directory; without it the main page goes to standard output
    directory: Option<PathBuf>,
}

/// Arguments of `schema`.
#[derive(Args)]
#[command(after_help = "Examples:\n  shearwater schema > shearwater.schema.json")]
pub struct Schema {}

/// Writes completions.
pub fn completions(context: &Context, args: Completions) -> Outcome<Exit> {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "shearwater", &mut out);
    context.console.raw(&String::from_utf8_lossy(&out))?;
    Ok(Exit::Done)
}

/// Writes the manual.
pub fn man(context: &Context, args: Man) -> Outcome<Exit> {
    let Some(directory) = args.directory else {
        context.console.raw(&page(command())?)?;
        return Ok(Exit::Done);
    };
    std::fs::create_dir_all(&directory).map_err(|error| Failure::file("make the directory", &directory, &error))?;
    let mut command = command();
    command.build();
    let mut written = Vec::new();
    let pages = std::iter::once(command.clone()).chain(command.get_subcommands().cloned());
    for verb in pages {
        let name = match verb.get_name() {
            "shearwater" => "shearwater".to_owned(),
            "help" => continue,
            verb => format!("shearwater-{verb}"),
        };
        let file = directory.join(format!("{name}.1"));
        std::fs::write(&file, page(verb)?).map_err(|error| Failure::file("write", &file, &error))?;
        written.push(file.display().to_string());
    }
    context.console.answer(&json!({ "written": written }), &format!("{}\n", written.join("\n")))?;
    Ok(Exit::Done)
}

fn page(command: clap::Command) -> Outcome<String> {
    let mut out = Vec::new();
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, "man/failed", error.to_string());
    clap_mangen::Man::new(command).render(&mut out).map_err(failed)?;
    let page = String::from_utf8_lossy(&out).into_owned();
    match page.contains("Exit codes") {
        true => Ok(page),
        false => Ok(format!("{page}.SH EXIT STATUS\n.nf\n{}.fi\n", exits_text())),
    }
}

/// Writes the JSON Schema of specs.
pub fn schema(context: &Context) -> Outcome<Exit> {
    context.console.raw(&format!("{:#}\n", shearwater_core::spec::json_schema()))?;
    Ok(Exit::Done)
}
