//! What a confined program may not ask of the kernel: a filter of system calls, put on by the launcher just before the
//! program takes its place, and inherited by all that it starts. It closes what Landlock has no word for: sockets that
//! listen, kinds of sockets that nobody here guards, and what would stay behind when every process has ended.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

/// What filters can do on this kernel, a word each.
const ACTIONS: &str = "/proc/sys/kernel/seccomp/actions_avail";

/// Refused whatever they are asked for, since they
/// wait for others: `listen`, which takes a port of its own where none was bound;
/// leave things behind: System V memory, queues and semaphores, POSIX queues, keys;
/// look into other processes: `ptrace` and its like;
/// go past this filter: `io_uring`, which opens sockets by itself;
/// change what is where, or widen what the kernel can be attacked through.
const REFUSED: &[i64] = &[
    libc::SYS_listen,
    libc::SYS_shmget,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_io_uring_setup,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
];

/// Flags of `clone` that make a namespace; a user namespace would give back what was given up.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// From here on numbers of system calls are those of another interface of x86-64, under which each call has a second name.
const X32: u32 = 0x4000_0000;

/// Whether the calls of a program can be filtered here.
pub fn can_be_filtered() -> bool {
    let errno = |actions: String| actions.split_ascii_whitespace().any(|action| action == "errno");
    filter().is_ok() && fs::read_to_string(ACTIONS).is_ok_and(errno)
}

/// Filters the calls of this process, for good.
///
/// # Errors
/// The kernel has no filters, or knows none for this processor.
pub(super) fn raise() -> io::Result<()> {
    let why = |error: &dyn std::fmt::Display| io::Error::other(format!("its system calls cannot be filtered: {error}"));
    let program = filter().map_err(|error| why(&error))?;
    seccompiler::apply_filter(&program).map_err(|error| why(&error))
}

fn filter() -> Result<BpfProgram, seccompiler::Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_socket, sockets()?);
    rules.insert(libc::SYS_socketpair, vec![unlike(0, &[libc::AF_UNIX])?]);
    let namespace = |flag: &i32| {
        let flag = u64::from(flag.unsigned_abs());
        rule(vec![SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)?])
    };
    rules.insert(libc::SYS_clone, NAMESPACES.iter().map(namespace).collect::<Result<_, _>>()?);
    let errno = |number: i32| SeccompAction::Errno(number.unsigned_abs());
    let program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, errno(libc::EPERM), arch)?.try_into()?;
    Ok(unknown_calls().into_iter().chain(program).collect())
}

/// Which sockets are refused: those of other families than a script needs, and protocols that go round the walls around
/// TCP. Of netlink, looking up addresses needs the routes alone.
fn sockets() -> Result<Vec<SeccompRule>, seccompiler::Error> {
    let of = |family: i32, protocols: &[i32]| {
        let mut conditions = vec![compare(0, SeccompCmpOp::Eq, family)?];
        for protocol in protocols {
            conditions.push(compare(2, SeccompCmpOp::Ne, *protocol)?);
        }
        rule(conditions)
    };
    let plain = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP];
    Ok(vec![
        unlike(0, &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK])?,
        of(libc::AF_INET, &[&plain[..], &[libc::IPPROTO_ICMP]].concat())?,
        of(libc::AF_INET6, &[&plain[..], &[libc::IPPROTO_ICMPV6]].concat())?,
        of(libc::AF_NETLINK, &[libc::NETLINK_ROUTE])?,
    ])
}

/// Where this argument is none of these.
fn unlike(argument: u8, values: &[i32]) -> Result<SeccompRule, seccompiler::Error> {
    let conditions = values.iter().map(|value| compare(argument, SeccompCmpOp::Ne, *value));
    rule(conditions.collect::<Result<_, _>>()?)
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, seccompiler::Error> {
    Ok(SeccompRule::new(conditions)?)
}

/// The kernel reads these arguments as 32 bits: whatever stands above them must not decide.
fn compare(argument: u8, how: SeccompCmpOp, value: i32) -> Result<SeccompCondition, seccompiler::Error> {
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, u64::from(value.unsigned_abs()))?)
}

/// Before all rules: calls that are said not to exist. `clone3` has its flags where no filter can see them, and every
/// library then takes `clone`; of x32 each call would be one that no rule names.
fn unknown_calls() -> [sock_filter; 4] {
    let step = |code: u32, jt: u8, jf: u8, k: u32| sock_filter { code: code as u16, jt, jf, k };
    let clone3 = u32::try_from(libc::SYS_clone3).unwrap_or(u32::MAX);
    [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, 0, X32),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, clone3),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_can_be_filtered_on_every_processor_that_is_built_for() {
        for arch in ["x86_64", "aarch64"] {
            assert!(TargetArch::try_from(arch).is_ok());
        }
        assert!(filter().is_ok_and(|program| program.len() > REFUSED.len()));
    }
}
