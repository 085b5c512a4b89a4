//! The binary; see [`shearwater::cli`].

/// Chunks are made by one thread, mapped by a second and dropped by a third,
/// which leaves the system's allocator with an arena for each of them.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    shearwater::cli::main()
}
