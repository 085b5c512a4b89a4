//! The binary; see [`shearwater::cli`].

fn main() -> std::process::ExitCode {
    shearwater::cli::main()
}
